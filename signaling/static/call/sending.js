/**
 * Ticks to messages: the face layer, its packets on the unordered channel, and stills, Hello and answers to requests on
 * the reliable one. It is there for the whole call; peers come and go.
 */
import { encodeControl } from "../coder/control.js";
import { FaceDecoder, FaceEncoder } from "../coder/face.js";
import { packTick } from "../coder/packet.js";
import { FacePrior } from "../coder/prior.js";
import { Failure } from "./failure.js";
import { TICK_MS } from "./report.js";
import { StillPolicy, makeStill, sharpnessOf } from "./stills.js";

/** @typedef {import("./peer.js").Peer} Peer @typedef {import("./capture.js").Frame} Frame */

const PRIOR = "/weights/face_prior.safetensors";
const SLOW_EVERY = 5; // of five ticks one has a picture at 5 fps
const CLOCK_EVERY = 16;
const CLOCK_SLACK_MS = 2;
const MAX_FACE_BYTES = 255;
const REFRESH_MS = 200; // Requests that come quicker mean the same loss.
const CROSSING_MS = 500; // A still on its way answers the request for it.
const RESEND_MS = 8000; // between the stills that a new receiver gets again
const NOTHING = new Uint8Array(0);

export class Sending {
  /**
   * @param {FacePrior} prior
   * @param {{hints: boolean, fps: 25 | 5, name: string}} settings hints: whether landmarks are found
   * @param {import("./report.js").Report} report
   * @param {import("./remote_clock.js").RemoteClock} clock
   */
  constructor(prior, { hints, fps, name }, report, clock) {
    this._prior = prior;
    this._hints = hints;
    this._fps = fps;
    this._name = name;
    this._camera = true;
    this._report = report;
    this._clock = clock;
    /** @type {Peer | null} */
    this._peer = null;
    this._encoder = this._makeEncoder();
    // For what is shown as sent: the picture as the bits have it.
    this._decoder = new FaceDecoder(prior);
    /** @type {{number: number, face: Uint8Array} | null} the tick before, where it was sent */
    this._before = null;
    this._sinceClock = CLOCK_EVERY;
    this._clockBase = 0;
    this._lastRefresh = -Infinity;
    this._policy = new StillPolicy(hints);
    /** @type {Map<number, Uint8Array>} the stills of the call by number */
    this._stills = new Map();
    /** @type {{number: number, due: number}[]} */
    this._outbox = [];
    this._making = 0;
    this._lastStill = -Infinity;
  }

  get fps() {
    return this._fps;
  }

  get hints() {
    return this._hints;
  }

  get camera() {
    return this._camera;
  }

  /** Whether the picture of a tick is looked at. @param {number} number */
  wants(number) {
    return this._camera && (this._hints || this._fps === 25 || number % SLOW_EVERY === 0);
  }

  /** Live. @param {25 | 5} fps */
  setFps(fps) {
    if (fps === this._fps) return;
    this._fps = fps;
    this._startStream();
  }

  /** The still stays where it is while the camera is off. @param {boolean} on */
  setCamera(on) {
    if (on === this._camera) return;
    this._camera = on;
    this._startStream();
  }

  /** A receiver is there: tell it what comes, and what the one before it had. @param {Peer} peer */
  attach(peer) {
    const first = this._stills.size === 0;
    this._peer = peer;
    this._startStream();
    if (first) return;
    const { best } = this._policy;
    const now = performance.now();
    const numbers = [...this._stills.keys()].sort((a, b) => Number(b === best) - Number(a === best));
    this._outbox = numbers.map((number, k) => ({ number, due: now + k * RESEND_MS }));
  }

  detach() {
    this._peer = null;
  }

  /** @param {{type: string}} message of the receiver */
  request(message) {
    const now = performance.now();
    if (message.type === "refresh" && now - this._lastRefresh >= REFRESH_MS) {
      this._lastRefresh = now;
      this._report.refreshes += 1;
      this._encoder.refresh();
    } else if (message.type === "needStill") {
      const coming = this._making > 0 || this._outbox.length > 0 || now - this._lastStill < CROSSING_MS;
      if (!coming) this._policy.request();
    }
  }

  /** Ticks that never were: the machine stalled. @param {number} ticks */
  skipped(ticks) {
    this._encoder.refresh();
    this._before = null;
    if (this._peer && this._camera) this._report.skipped += ticks;
  }

  /**
   * The next tick. @param {Frame} frame @param {HTMLCanvasElement} canvas its picture
   * @returns {Uint8Array | null} the 8x8 picture that was sent, as the other side decodes it
   */
  tick(frame, canvas) {
    const peer = this._peer;
    if (!peer?.connected) return null;
    this._sendStill(peer);
    if (!this._camera) return null;
    const pictured = this._fps === 25 || frame.number % SLOW_EVERY === 0;
    const sent = this._hints || pictured;
    if (sent && !peer.ready) {
      this.skipped(1);
      return null;
    }
    const picture = pictured ? frame.small : null;
    const hints = this._hints ? frame.hints : null;
    let face = this._encoder.encode(picture, hints);
    if (face.length > MAX_FACE_BYTES) {
      face = NOTHING; // the coder bounds its frames below this; a packet could not hold it
      this._encoder.refresh();
    }
    const { picture: coded } = this._decoder.decode(face);
    if (!sent) return null;
    this._send(peer, frame, face, picture !== null);
    if (picture && frame.rgba) this._consider(frame, canvas);
    return coded;
  }

  /** @param {Peer} peer @param {Frame} frame @param {Uint8Array} face @param {boolean} pictured */
  _send(peer, { number, start }, face, pictured) {
    const before = this._before?.number === number - 1 && this._before.face.length ? [this._before.face] : [];
    const captured = performance.timeOrigin + start + this._clock.offset;
    const base = captured - number * TICK_MS;
    const due = this._sinceClock >= CLOCK_EVERY || Math.abs(base - this._clockBase) > CLOCK_SLACK_MS;
    const clockMs = due ? Math.round(captured) : null;
    const message = packTick(number, { faces: [face], redundant: before, clockMs });
    if (!peer.sendTick(message)) {
      this.skipped(1);
      return;
    }
    if (due) {
      this._sinceClock = 0;
      this._clockBase = base;
    }
    this._sinceClock += 1;
    this._before = { number, face };
    this._report.tick(performance.now(), face.length, message.length, pictured);
  }

  /** Is this picture worth a still? @param {Frame} frame @param {HTMLCanvasElement} canvas */
  _consider({ rgba, small, points, hints }, canvas) {
    if (!rgba || !small) return;
    const view = { small, sharpness: sharpnessOf(rgba), points, hints };
    const number = this._policy.decide(performance.now() / 1000, view);
    if (number === null) return;
    const copy = document.createElement("canvas");
    copy.width = copy.height = 256;
    copy.getContext("2d", { alpha: false })?.drawImage(canvas, 0, 0);
    this._making += 1;
    makeStill(copy, points)
      .then((data) => {
        if (!data) return;
        this._stills.set(number, data);
        this._outbox = [{ number, due: 0 }, ...this._outbox.filter((one) => one.number !== number)];
      })
      .catch(() => {}) // the receiver asks again
      .finally(() => (this._making -= 1));
  }

  /** One that is due. @param {Peer} peer */
  _sendStill(peer) {
    const now = performance.now();
    const due = this._outbox.find((one) => one.due <= now);
    const data = due && this._stills.get(due.number);
    if (!due || !data) return;
    if (!peer.sendControl(encodeControl({ type: "still", number: due.number, data }))) return;
    this._outbox = this._outbox.filter((one) => one !== due);
    this._lastStill = now;
    this._report.still(data.length);
  }

  /** Hello, and an encoder whose first picture is a refresh. */
  _startStream() {
    this._encoder = this._makeEncoder();
    this._before = null;
    this._sinceClock = CLOCK_EVERY;
    const fps = this._camera ? this._fps : 0;
    this._report.settings.fps = fps;
    this._peer?.sendControl(
      encodeControl({ type: "hello", fps, profile: "full", hints: this._hints, packetMs: TICK_MS, name: this._name }));
  }

  _makeEncoder() {
    return new FaceEncoder(this._prior, { profile: "full", fps: this._fps, hints: this._hints });
  }
}

/** The prior of the face layer. @returns {Promise<FacePrior>} raises Failure */
export async function loadPrior() {
  try {
    const response = await fetch(PRIOR);
    if (!response.ok) throw new Error(`status ${response.status}`);
    return FacePrior.load(await response.arrayBuffer());
  } catch {
    throw new Failure("page-incomplete");
  }
}
