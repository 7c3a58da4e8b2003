/**
 * Tick messages that travel inside the voice packets, where this browser lets a page at those: one row of packets then
 * costs what two did. The data channel takes them while no voice is sent, and from browsers that cannot.
 */
import { TICK_MS } from "./report.js";

/** The line of the offer that tells the receiver. */
export const ATTRIBUTE = "a=pinhole-voice-frame:1";
const FLOWING_MS = 150;
const WINDOW = 25; // packets, a second
const MARGIN_MS = 8;
const BACK_MS = 6;
const HOLD = 10; // windows
const SETTLING = 3; // windows at the start, in which the machine is busy with much else

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
    this._least = Infinity;
    this._missed = false;
    this._packets = 0;
    this._hold = 0;
    this._windows = 0;
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

  /**
   * Ticks are moved so that each is ready just before its packet: a message that comes too late for it waits 40 ms for
   * the next, and every one of those is paid for by the receiver's buffer.
   * @param {{waited: number | null, missed: boolean, added: number}} packet
   */
  _passed({ waited, missed, added }) {
    this._lastPassed = performance.now();
    this.added += added;
    this._packets += 1;
    this._missed ||= missed;
    if (waited !== null) this._least = Math.min(this._least, waited);
    if (this._packets < WINDOW) return;
    this._windows += 1;
    if (this._missed) {
      this._hold = this._windows > SETTLING ? HOLD : 0;
      this.shift(-BACK_MS);
    } else if (this._hold > 0) {
      this._hold -= 1;
    } else if (this._least > MARGIN_MS && this._least < TICK_MS) {
      this.shift(this._least - MARGIN_MS);
    }
    this._least = Infinity;
    this._missed = false;
    this._packets = 0;
  }
}

/** The offer with the line that says so. @param {string} sdp */
export function announced(sdp) {
  return sdp.replace(/^(m=audio [^\r\n]*)(\r?\n)/m, `$1$2${ATTRIBUTE}$2`);
}
