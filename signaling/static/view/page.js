/** The page: joins its parts and keeps its state. */
import { unpackShown } from "../coder/packet.js";
import { Call } from "../call/call.js";
import { hidesPixels } from "../call/capture.js";
import { asFailure } from "../call/failure.js";
import { forgetLink, keepLink, memberOf, takeLink } from "../call/link.js";
import { pageTime } from "../call/remote_clock.js";
import { Report, digest } from "../call/report.js";
import { Sending, loadPrior } from "../call/sending.js";
import { ERRORS, Message, NOTICES } from "./errors.js";
import { figuresOf, streamOf } from "./figures.js";
import { JoinView } from "./join.js";
import { Numbers } from "./numbers.js";
import { OwnPicture } from "./own.js";
import { saveJson } from "./save.js";
import { makeTabs } from "./tabs.js";
import { WatchView } from "./watch.js";

const LAST_MS = 200;
const STATES = {
  "no-link": "",
  ready: "Not in a call",
  joining: "Joining …",
  waiting: "Waiting for the other side",
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Connecting again …",
};
const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

export class Page {
  constructor() {
    /** @type {keyof typeof STATES} */
    this.state = "no-link";
    /** @type {import("../call/link.js").Link | null} */
    this._link = null;
    /** @type {Call | null} */
    this._call = null;
    /** @type {Sending | null} */
    this._sending = null;
    this.report = new Report({}, navigator.userAgent);
    /** @type {Promise<import("../coder/prior.js").FacePrior> | null} */
    this._prior = null;
    this._joinedAt = 0;
    this._otherLeft = false;
    this._turn = 0;
    this._seconds = 0;

    /** @type {Promise<void> | null} */
    this._compared = null;

    this.own = new OwnPicture({
      onFrame: (frame) => this._frame(frame),
      onSkipped: (ticks) => this._sending?.skipped(ticks),
      onLost: () => this._cameraLost(),
    });
    this._source = this.own.source;
    this.watch = new WatchView((pictures) => this.report.picture(pictures, performance.now() - this._joinedAt));
    this._numbers = new Numbers(byId("numbers"));
    this.error = new Message(byId("error"), ERRORS, {
      camera: () => this._join.camera(),
      silent: () => this._join.camera(true),
      file: () => this._join.pickFile(),
      demo: () => this._join.demo(),
      cameraOn: () => this._setCamera(true),
      link: () => this._otherLink(),
      retry: () => this._retry(),
      reload: () => window.location.reload(),
    });
    this.notice = new Message(byId("notice"), NOTICES, {});
    this._join = new JoinView(this._source, {
      onLink: (link) => this._useLink(link),
      onBrokenLink: () => this.error.show("broken-link", "", true),
      onJoin: () => this.join(),
      onChosen: () => this._chosen(),
      onFailure: (failure) => this._fail(failure),
    });
    byId("mute").addEventListener("click", () => this._mute());
    byId("camera-off").addEventListener("click", () => this._setCamera(!this._sending?.camera));
    byId("slow").addEventListener("click", () => this._slow());
    byId("leave").addEventListener("click", () => this._countLast().then(() => this.leave()));
    byId("download").addEventListener("click", () => this._download());
    window.addEventListener("pagehide", () => this.leave());
    window.addEventListener("hashchange", () => this._readLink());
    const show = makeTabs(byId("tabs"), (panel) => this._tab(panel));
    if (this._readLink() === "#compare") show("tab-compare");
  }

  // The link

  /** @returns {string} a fragment that is no link */
  _readLink() {
    const { link, broken, fragment } = takeLink(window);
    if (broken) this.error.show("broken-link");
    if (link) this._useLink(link);
    else if (!this._link) this._showEntry();
    return fragment;
  }

  /** @param {import("../call/link.js").Link} link */
  async _useLink(link) {
    if (this._call) await this.leave();
    keepLink(window, link);
    this._link = link;
    this.error.clear();
    this.notice.clear();
    byId("join-room").textContent = byId("watch-room").textContent = link.room;
    if (link.role === "sender") {
      this._prior ??= loadPrior();
      this._prior.catch(() => {}); // told at Join
      this.own.load();
      if (hidesPixels()) this.error.show("canvas-blocked");
    }
    this._showEntry();
  }

  _otherLink() {
    this._join.reset();
    forgetLink(window);
    this._link = null;
    this.error.clear();
    this._showEntry();
    byId("link").focus();
  }

  /** What there is before a call. */
  _showEntry() {
    const role = this._link?.role;
    byId("intro").hidden = role !== undefined;
    byId("watch-intro").hidden = role !== "viewer";
    byId("room").hidden = role !== "sender";
    byId("room").dataset.view = "join";
    byId("own").hidden = false;
    this.own.setAway(false);
    this._setState(role ? "ready" : "no-link");
  }

  // What is sent

  _chosen() {
    this.error.clear();
    this.notice.clear("left");
    this.own.start();
  }

  /** @param {import("../call/capture.js").Frame} frame */
  _frame(frame) {
    const sent = this._sending?.tick(frame, this.own.canvas);
    if (sent) this.watch.own(sent);
    else if (frame.small && !this._call) this.own.preview(frame.small);
  }

  _mute() {
    this._source.muted = !this._source.muted;
    byId("mute").setAttribute("aria-pressed", String(this._source.muted));
  }

  _slow() {
    if (!this._sending) return;
    this._sending.setFps(this._sending.fps === 25 ? 5 : 25);
    byId("slow").setAttribute("aria-pressed", String(this._sending.fps === 5));
  }

  /** @param {boolean} on */
  async _setCamera(on) {
    const sending = this._sending;
    if (!sending) return;
    if (!on) sending.setCamera(false);
    try {
      await this._source.setCamera(on);
    } catch (error) {
      this.error.show(asFailure(error, "camera-busy").kind, "", true);
      return;
    }
    if (sending !== this._sending) return;
    if (on) {
      sending.setCamera(true);
      this.error.clear();
    }
    this._showCamera(on);
  }

  _cameraLost() {
    if (!this._sending) {
      this._join.reset();
      this.error.show("no-camera");
      return;
    }
    this._sending.setCamera(false);
    this._showCamera(false);
    this.error.show("camera-lost");
  }

  /** @param {boolean} on */
  _showCamera(on) {
    this.own.setCamera(on);
    this.watch.setCamera(on);
    byId("camera-off").setAttribute("aria-pressed", String(!on));
  }

  // The call

  async join() {
    const link = this._link;
    if (!link || this._call || this.state === "joining") return;
    const sends = link.role === "sender";
    if (sends && !this._source.ready) return;
    const turn = ++this._turn;
    this._joinedAt = performance.now();
    this._otherLeft = false;
    this.error.clear();
    this.notice.clear();
    this._setState("joining");
    this._join.setBusy(true);
    const { fps } = this._join;
    const place = `${link.direction}/${link.role}`;
    try {
      if (sends) await this._source.startSound();
      const prior = sends ? await (this._prior ?? loadPrior()) : null;
      const member = await memberOf(window);
      if (sends) await this.own.load();
      if (turn !== this._turn) return;
      const { hints } = this.own.faces;
      this.report = new Report({ place, source: this._source.kind, fps, hints }, navigator.userAgent);
      const call = new Call(link, member, () => this._source.voice, this._events(turn));
      this._call = call;
      if (prior) this._sending = new Sending(prior, { hints, fps, name: "Browser" }, this.report, call.clock);
      this.own.capture.wanted = (number) => this._sending?.wants(number) ?? true;
      await call.run();
    } catch (error) {
      if (turn !== this._turn) return;
      this._end();
      this._fail(asFailure(error, "connection-failed"));
    } finally {
      if (turn === this._turn) this._join.setBusy(false);
    }
  }

  /** Count what was sent since the last full second, for the report. */
  async _countLast() {
    await Promise.race([this._everySecond(), new Promise((resolve) => setTimeout(resolve, LAST_MS))]);
  }

  /** Leaves, and lets go of everything. */
  async leave() {
    this._stopSource();
    if (!this._call && this.state !== "joining") return;
    const ended = this._end("left the call");
    this.notice.show("left", "", true);
    await ended;
  }

  _stopSource() {
    this.own.stop();
    this._join.reset();
  }

  /** The call is over; the source stays. @param {string} [reason] */
  async _end(reason = "the call failed") {
    this._turn += 1;
    const call = this._call;
    this._call = this._sending = null;
    this.own.capture.wanted = () => true;
    clearInterval(this._seconds);
    this.watch.stop();
    this.error.clear();
    this.notice.clear();
    this._source.muted = false;
    this._showCamera(true);
    this._showEntry();
    this._join.setBusy(false);
    await call?.leave(reason);
  }

  /** @param {number} turn @returns {import("../call/call.js").CallEvents} */
  _events(turn) {
    const mine = (/** @type {(...args: any[]) => void} */ handler) => (/** @type {any[]} */ ...args) => {
      if (turn === this._turn) handler(...args);
    };
    return {
      state: mine((state) => this._callState(state)),
      opened: mine((peer) => this._opened(peer)),
      closed: mine(() => {
        this._sending?.detach();
        this.watch.lose();
      }),
      stream: mine((stream) => this.watch.setStream(stream)),
      picture: mine((data) => this._low(data)),
      statistics: mine((values) => this._statistics(values)),
      request: mine((message) => this._sending?.request(message)),
      bye: mine(() => {
        this._otherLeft = true;
        this.notice.show("other-left");
      }),
      quiet: mine((quiet) => (quiet ? this.notice.show("quiet") : this.notice.clear("quiet"))),
      server: mine((there) => (there ? this.notice.clear("server-silent") : this.notice.show("server-silent"))),
    };
  }

  /** @param {import("../call/call.js").CallState} state */
  _callState(state) {
    this._setState(state);
    if (state !== "joining" && byId("room").dataset.view !== "call") this._showCall();
    if (state === "connected") this.notice.clear();
    else if (this._otherLeft) this.notice.show("other-left");
    else if (state === "waiting" || state === "reconnecting") this.notice.show(state);
    else if (state === "connecting") this.notice.clear("waiting");
  }

  _showCall() {
    const sends = this._link?.role === "sender";
    byId("intro").hidden = byId("watch-intro").hidden = true;
    byId("room").hidden = false;
    byId("room").dataset.view = "call";
    this.own.setAway(true);
    this.watch.start(sends);
    this._numbers.setOwn(sends);
    byId("mute").setAttribute("aria-pressed", "false");
    byId("mute").disabled = sends && !this._source.voice;
    byId("slow").setAttribute("aria-pressed", String(this._sending?.fps === 5));
    this._showCamera(true);
    byId("call").focus({ preventScroll: true });
    clearInterval(this._seconds);
    this._seconds = window.setInterval(() => this._everySecond(), 1000);
  }

  /** @param {import("../call/peer.js").Peer} peer */
  _opened(peer) {
    this._otherLeft = false;
    this.report.connectMs ??= performance.now() - this._joinedAt;
    this.report.connected(performance.now());
    this._sending?.attach(peer);
    peer.onShift((ms) => this.own.capture.shift(ms));
  }

  /** @param {Uint8Array} data */
  _low(data) {
    try {
      this.watch.low(unpackShown(data).picture);
    } catch {
      // of a version that this page does not know
    }
  }

  /** @param {Record<string, number | string>} values */
  _statistics(values) {
    this.report.statistics = { ...values };
    const { view } = values;
    if (view === "loop" || view === "other" || view === "viewer") this.watch.setView(view);
    this._setState(this.state);
  }

  async _everySecond() {
    const { report, _turn: turn } = this;
    const counters = this._call?.peer ? digest(await this._call.peer.stats()) : null;
    if (turn !== this._turn) return;
    report.sample(performance.now(), counters);
    const told = this.state === "connected" ? report.statistics : null;
    this._numbers.update(figuresOf(report, told, this._sending !== null, this._sending ?? streamOf(told)));
  }

  /** @param {import("../call/failure.js").Failure} failure */
  _fail({ kind, detail }) {
    this.error.show(kind, detail, true);
  }

  _retry() {
    this.error.clear();
    if (this._link?.role === "sender" && !this._source.ready) byId("source-camera").focus();
    else this.join();
  }

  /** @param {keyof typeof STATES} state */
  _setState(state) {
    this.state = state;
    const told = state === "connected" ? this.report.statistics : null;
    const text = typeof told?.state === "string" && told.state ? told.state : STATES[state];
    const element = byId("state");
    if (element.textContent !== text) element.textContent = text;
    element.classList.toggle("live", state === "connected" && (told === null || told.live !== 0));
  }

  /** @param {string} panel */
  _tab(panel) {
    if (panel !== "panel-compare" || this._compared) return;
    this._compared = import("./compare.js")
      .then(({ showCompare }) => showCompare(byId("panel-compare")))
      .catch(() => {
        this._compared = null;
        this.error.show("page-incomplete");
      });
  }

  _download() {
    const made = new Date(pageTime()).toISOString();
    saveJson("pinhole-report.json", { made, ...this.report.summary() });
  }
}
