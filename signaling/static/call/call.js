/**
 * A call from joining to leaving: takes the place, offers, and offers anew whenever the connection or the other side is
 * gone. What is sent is `sending.js`'s; what is shown, the view's.
 */
import { decodeControl, encodeControl } from "../coder/control.js";
import { Failure } from "./failure.js";
import { Peer, lacking } from "./peer.js";
import { RemoteClock, pageTime } from "./remote_clock.js";
import { Signaling } from "./signaling.js";

const WAITING_MS = 1500; // An answer that takes longer waits for somebody.
const CONNECT_MS = 15_000;
const RETRY_MS = 1200; // A place is another's after two silent seconds.
const FIRST_TRIES = 2;
const PINGS_MS = [0, 300, 300, 400, 1000];
const PING_MS = 5000;

/**
 * @typedef {"joining"|"waiting"|"connecting"|"connected"|"reconnecting"} CallState
 *
 * @typedef {object} CallEvents
 * @property {(state: CallState) => void} state
 * @property {(peer: Peer) => void} opened
 * @property {() => void} closed
 * @property {(stream: MediaStream) => void} stream
 * @property {(data: Uint8Array) => void} picture tick number and 8x8 picture
 * @property {(values: Record<string, number | string>) => void} statistics
 * @property {(message: any) => void} request NeedStill and Refresh
 * @property {(reason: string) => void} bye the other side left
 * @property {(quiet: boolean) => void} quiet whether nothing comes from the other side any more
 * @property {(there: boolean) => void} server whether the signaling server answers
 */

export class Call {
  /**
   * @param {import("./link.js").Link} link @param {string} member
   * @param {() => MediaStreamTrack | null} voice the track that goes up now
   * @param {CallEvents} events
   */
  constructor(link, member, voice, events) {
    this._signaling = new Signaling(link, member);
    this._sends = link.role === "sender";
    this._voice = voice;
    this._events = events;
    this._leaving = new AbortController();
    this.clock = new RemoteClock();
    /** @type {Peer | null} */
    this.peer = null;
    this._everOpened = false;
    this._failures = 0;
    this._entered = false;
  }

  /** Stays in the call; resolves after `leave`. Raises Failure where it cannot go on. */
  async run() {
    const { signal } = this._leaving;
    const lack = lacking(window);
    if (lack) throw lack === "webrtc" ? new Failure("no-webrtc") : new Failure("codec-missing", lack);
    try {
      this._events.state("joining");
      const servers = await this._signaling.enter(signal);
      this._entered = true;
      while (!signal.aborted) await this._session(servers);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  /** Say goodbye and free the place. @param {string} reason */
  async leave(reason) {
    if (this._leaving.signal.aborted) return;
    this._leaving.abort();
    const { peer } = this;
    this.peer = null;
    const gone = this._entered ? this._signaling.leave() : null;
    await peer?.close(encodeControl({ type: "bye", reason }));
    await gone;
  }

  /** One connection, from offer to end. @param {RTCIceServer[]} servers */
  async _session(servers) {
    const { signal } = this._leaving;
    const session = new AbortController();
    let location = "";
    let opened = false;
    let timer = 0;
    /** @type {string[]} */
    const early = [];
    /** @type {(reason: string) => void} */
    let end = () => {};
    const closed = new Promise((/** @type {(reason: string) => void} */ resolve) => (end = resolve));
    const stop = () => {
      session.abort();
      end("left");
    };
    signal.addEventListener("abort", stop);
    const trickle = (/** @type {string} */ fragment) => {
      this._signaling.trickle(location, fragment, session.signal).catch(() => {}); // the connection is made without
    };
    const peer = new Peer(servers, { sends: this._sends, audio: this._voice() }, {
      opened: () => {
        opened = this._everOpened = true;
        this._failures = 0;
        this._events.state("connected");
        this._events.opened(peer);
        this._ping(peer);
      },
      closed: (reason) => end(reason),
      control: (data) => this._control(data),
      tick: (data) => this._events.picture(data),
      stream: (stream) => this._events.stream(stream),
      quiet: (quiet) => this._events.quiet(quiet),
      candidates: (fragment) => (location ? trickle(fragment) : early.push(fragment)),
    });
    this.peer = peer;
    try {
      const found = await this._answered(await peer.offer(), session.signal);
      if (found === null) return;
      location = found.location;
      early.forEach(trickle);
      if (!opened) this._events.state(this._everOpened ? "reconnecting" : "connecting");
      await peer.accept(found.answer).catch(() => end("failed"));
      timer = setTimeout(() => opened || end("failed"), CONNECT_MS);
      const reason = await Promise.race([closed, this._watch(location, session.signal)]);
      if (!opened && reason !== "ended" && reason !== "left") {
        this._failures += 1;
        if (!this._everOpened && this._failures >= FIRST_TRIES) throw new Failure("connection-failed");
        await pause(RETRY_MS, signal);
      }
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      session.abort();
      if (this.peer === peer) this.peer = null;
      if (!signal.aborted) {
        await peer.close();
        if (opened) this._events.closed();
        if (this._everOpened) this._events.state("reconnecting");
      }
    }
  }

  /**
   * Offer until somebody answers. @param {string} sdp @param {AbortSignal} signal
   * @returns {Promise<{location: string, answer: string} | null>} null: offer anew
   */
  async _answered(sdp, signal) {
    const timer = setTimeout(() => this._events.state("waiting"), WAITING_MS);
    let waited = false;
    try {
      for (;;) {
        try {
          const found = await this._signaling.offer(sdp, signal);
          this._events.server(true);
          if (found) return found;
          waited = true;
        } catch (error) {
          if (!(error instanceof Failure)) throw error;
          if (error.kind === "ended") return null;
          if (error.kind !== "server-gone" || !(this._everOpened || waited)) throw error;
          this._events.server(false);
          await pause(RETRY_MS, signal);
        }
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Resolves when the server says that the session has ended. @param {string} location @param {AbortSignal} signal */
  async _watch(location, signal) {
    for (;;) {
      try {
        if (await this._signaling.ended(location, signal)) return "ended";
        this._events.server(true);
      } catch (error) {
        if (!(error instanceof Failure)) return "left";
        if (error.kind === "token-in-use") throw error;
        // A server that is gone, or knows the room no more, takes nothing from the media.
        this._events.server(false);
        await pause(RETRY_MS, signal).catch(() => {});
      }
    }
  }

  /** @param {Uint8Array} data */
  _control(data) {
    let message;
    try {
      message = decodeControl(data);
    } catch {
      return; // of a version that this page does not know
    }
    if (message.type === "statistics") {
      if (!this.clock.pong(message.values, pageTime())) this._events.statistics(message.values);
    } else if (message.type === "bye") {
      this._events.bye(message.reason);
    } else {
      this._events.request(message);
    }
  }

  /** @param {Peer} peer */
  async _ping(peer) {
    for (let k = 0; peer.connected; k++) {
      await pause(PINGS_MS[k] ?? PING_MS, this._leaving.signal).catch(() => {});
      if (!peer.connected || this._leaving.signal.aborted) return;
      peer.sendControl(encodeControl({ type: "statistics", values: { ping: Math.round(pageTime() * 1000) / 1000 } }));
    }
  }
}

/** @param {number} ms @param {AbortSignal} signal @returns {Promise<void>} raises AbortError when aborted */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const gone = () => {
      clearTimeout(timer);
      reject(new DOMException("left", "AbortError"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", gone);
      resolve();
    }, ms);
    if (signal.aborted) gone();
    else signal.addEventListener("abort", gone, { once: true });
  });
}
