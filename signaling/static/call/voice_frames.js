/**
 * Tick messages that travel inside the voice packets, where this browser lets a page at those: one row of packets then
 * costs what two did. The data channel takes them while no voice is sent, and from browsers that cannot.
 */
import { TICK_MS } from "./report.js";

/** The line of the offer that tells the receiver. */
export const ATTRIBUTE = "a=pinhole-voice-frame:1";
const FLOWING_MS = 150;
const WINDOW = 50; // packets, two seconds
const FIRST_WINDOW = 15;
const OUTLIERS = 0.05; // of the packets: a page that stalls for a moment is not to be waited for
const SLACK_MS = [3, 9]; // what the others should have had left
const BACK_MS = 4;

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
    this._slacks = [];
    this._window = FIRST_WINDOW;
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
    if (waited !== null) this._slacks.push(missed ? 0 : Math.min(waited, TICK_MS));
    if (this._slacks.length < this._window) return;
    const slack = this._slacks.sort((a, b) => a - b)[Math.ceil(OUTLIERS * this._window)];
    this._slacks = [];
    this._window = WINDOW;
    const [least, most] = SLACK_MS;
    if (slack < least) this.shift(-BACK_MS);
    else if (slack > most) this.shift(slack - (least + most) / 2);
  }
}

/** The offer with the line that says so. @param {string} sdp */
export function announced(sdp) {
  return sdp.replace(/^(m=audio [^\r\n]*)(\r?\n)/m, `$1$2${ATTRIBUTE}$2`);
}
