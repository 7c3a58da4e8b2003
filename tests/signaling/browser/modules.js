// Runs the page's pure modules in Node: one request on standard input, {"call": name, ...}, one JSON answer.

import { readFileSync } from "node:fs";

import { foreignAddress, keepLink, looksLikeLink, memberOf, parseLink, takeLink } from "./static/call/link.js";
import { lacking } from "./static/call/peer.js";
import { RemoteClock } from "./static/call/remote_clock.js";
import { Report, digest } from "./static/call/report.js";
import { StillPolicy, drift, sharpnessOf } from "./static/call/stills.js";
import { Crop, outlineOf } from "./static/source/crop.js";
import { ERRORS, NOTICES } from "./static/view/errors.js";
import { figuresOf } from "./static/view/figures.js";
import { plainRate } from "./static/view/numbers.js";
import { points } from "./static/view/sparkline.js";

function view({ small, sharpness, points: found, hints }) {
  return { small: Uint8Array.from(small), sharpness, points: found && Float32Array.from(found), hints };
}

/** A window with what link.js touches. */
function fakeWindow(hash, kept = {}, storage = true) {
  const items = new Map(Object.entries(kept));
  return {
    items,
    replaced: [],
    location: { hash, pathname: "/", search: "" },
    history: { state: null, replaceState(_state, _title, address) { this.window.replaced.push(address); } },
    get sessionStorage() {
      if (!storage) throw new Error("blocked");
      return { getItem: (k) => items.get(k) ?? null, setItem: (k, v) => items.set(k, v), removeItem: (k) => items.delete(k) };
    },
    navigator: {},
    crypto: globalThis.crypto,
  };
}

function taken(window) {
  window.history.window = window;
  return { ...takeLink(window), replaced: window.replaced, kept: window.items.get("pinhole-link") ?? null };
}

const calls = {
  parseLink: ({ texts }) => texts.map(parseLink),
  looksLikeLink: ({ texts }) => texts.map(looksLikeLink),
  foreignAddress: ({ texts, origin }) => texts.map((text) => foreignAddress(text, origin)),
  takeLink: ({ hash, kept, storage }) => taken(fakeWindow(hash, kept, storage)),
  keepAndTake({ link }) {
    const window = fakeWindow("");
    keepLink(window, link);
    return taken(window).link;
  },
  async memberOf({ held }) {
    const window = fakeWindow("");
    const first = await memberOf(window);
    const again = await memberOf(window);
    // Another tab got a copy of the storage, and the first one lives.
    const copy = fakeWindow("", Object.fromEntries(window.items));
    copy.navigator.locks = {
      request: async (name, _options, take) => take(held && name.endsWith("held-member-0001") ? null : { name }),
    };
    copy.items.set("pinhole-member", "held-member-0001");
    return { first, again, other: await memberOf(copy) };
  },
  drift: ({ pairs }) => pairs.map(([a, b]) => drift(view(a), view(b))),
  policy({ landmarks, steps }) {
    const policy = new StillPolicy(landmarks);
    return steps.map(({ now, view: seen, request }) => {
      if (request) policy.request();
      return [policy.decide(now, view(seen)), policy.best];
    });
  },
  sharpness: ({ green }) => {
    const rgba = new Uint8ClampedArray(256 * 256 * 4);
    green.forEach((value, k) => (rgba[4 * k + 1] = value));
    return sharpnessOf(rgba);
  },
  crop({ steps }) {
    const crop = new Crop();
    return steps.map(({ source, face, move, zoom, following, reset }) => {
      if (reset) crop.reset();
      if (source) crop.setSource(...source);
      if (following !== undefined) crop.following = following;
      if (face) crop.follow({ left: face[0], top: face[1], right: face[2], bottom: face[3] });
      if (move) crop.move(...move);
      if (zoom) crop.zoom(zoom);
      const { left, top, side } = crop.box;
      return [left, top, side, crop.following];
    });
  },
  outline: ({ found, box }) => outlineOf(Float32Array.from(found), box),
  report({ steps }) {
    const report = new Report({ fps: 25 }, "node");
    const seen = [];
    for (const { tick, still, connected, sample, stats, shown, statistics } of steps) {
      if (tick) report.tick(...tick);
      if (still) report.still(still);
      if (connected !== undefined) report.connected(connected);
      if (shown) report.shown += shown;
      if (statistics) report.statistics = statistics;
      if (sample !== undefined) report.sample(sample, stats ? digest(stats) : null);
      seen.push(report.lately);
    }
    return {
      summary: report.summary(),
      lately: seen,
      own: figuresOf(report, report.statistics, true, { fps: 25, hints: true }),
      watched: figuresOf(report, report.statistics, false, { fps: 25, hints: true }),
    };
  },
  digest: ({ stats }) => digest(stats),
  clock({ pongs }) {
    const clock = new RemoteClock();
    return pongs.map(([values, now]) => [clock.pong(values, now), clock.known, clock.offset, clock.roundTrip]);
  },
  points: ({ values }) => points(values),
  plainRate: ({ rates }) => rates.map(([face, fps, hints]) => plainRate(face, { fps, hints })),
  messages: () => ({ errors: ERRORS, notices: NOTICES }),
  lacking({ windows }) {
    class Peer {
      addTransceiver() {}
    }
    const codecs = (mimes) => ({ getCapabilities: () => ({ codecs: mimes.map((mimeType) => ({ mimeType })) }) });
    return windows.map(({ peer, audio, video }) => lacking({
      RTCPeerConnection: peer ? Peer : undefined,
      RTCRtpSender: audio && codecs(audio),
      RTCRtpReceiver: video && codecs(video),
    }));
  },
};

const request = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify((await calls[request.call](request)) ?? null));
