/**
 * Tick messages that travel inside the voice packets, where this browser lets a page at those: one row of packets then
 * costs what two did. The data channel takes them while no voice is sent, and from browsers that cannot.
 */
import { TICK_MS } from "./report.js";

/** The line of the offer that tells the receiver. */
export const ATTRIBUTE = "a=pinhole-voice-frame:1";
const FLOWING_MS = 150;
const LEAST_WAIT_MS = 4;
const MOST_WAIT_MS = 14;
const LOOKED_AT = 9;
const STEP_MS = 2;

export class VoiceFrames {
  /**
   * @param {RTCRtpSender} sender of the voice
   * @param {(message: Uint8Array) => void} late takes a message that no voice packet came by for
   * @returns {VoiceFrames | null} null where the browser has no encoded transforms
   */
  static of(sender, late) {
    if (typeof RTCRtpScriptTransform !== "function" || !("transform" in sender)) return null;
    return new VoiceFrames(sender, late);
  }

  /** @param {RTCRtpSender} sender @param {(message: Uint8Array) => void} late */
  constructor(sender, late) {
    this._worker = new Worker(new URL("./voice_frame_worker.js", import.meta.url), { type: "module" });
    this._lastPassed = -Infinity;
    /** Bytes of all voice packets so far that are not voice. */
    this.added = 0;
    /** @type {number[]} */
    this._waits = [];
    /** Asked to begin later, or earlier, by so many ms: messages wait too long, or nearly miss their packet. */
    this.shift = (/** @type {number} */ _ms) => {};
    this._worker.onmessage = ({ data }) => {
      if (data.late) late(data.late);
      else this._passed(data);
    };
    sender.transform = new RTCRtpScriptTransform(this._worker, {});
  }

  /** Whether voice packets pass now. */
  get flowing() {
    return performance.now() - this._lastPassed < FLOWING_MS;
  }

  /** The message goes with the next voice packet. @param {Uint8Array} message */
  add(message) {
    this._worker.postMessage({ message, at: performance.timeOrigin + performance.now() });
  }

  close() {
    this._worker.terminate();
  }

  /** @param {{waited: number | null, added: number}} packet */
  _passed({ waited, added }) {
    this._lastPassed = performance.now();
    this.added += added;
    if (waited === null) return;
    this._waits.push(Math.min(waited, TICK_MS));
    if (this._waits.length < LOOKED_AT) return;
    const wait = this._waits.sort((a, b) => a - b)[LOOKED_AT >> 1];
    this._waits = [];
    if (wait > MOST_WAIT_MS) this.shift(wait > 2 * MOST_WAIT_MS ? wait - MOST_WAIT_MS : STEP_MS);
    else if (wait < LEAST_WAIT_MS) this.shift(-STEP_MS);
  }
}

/** The offer with the line that says so. @param {string} sdp */
export function announced(sdp) {
  return sdp.replace(/^(m=audio [^\r\n]*)(\r?\n)/m, `$1$2${ATTRIBUTE}$2`);
}
