/**
 * What is sent, tick by tick: the square of the source at 256x256, its 8x8 average, and what the face's landmarks say.
 *
 * Tick k covers the 40 ms from t0 + 40 k; its picture is the one at its end. A worker keeps the time. Numbers follow
 * the clock: a tick that this thread comes to more than a tick late is skipped, and never made up for.
 */
import { area8x8 } from "../coder/face.js";
import { PICTURE } from "../source/crop.js";
import { TICK_MS } from "./report.js";

/**
 * @typedef {object} Frame
 * @property {number} number of the tick
 * @property {number} start `performance.now()` at which the tick began
 * @property {Uint8ClampedArray | null} rgba 256x256, null where the source has no picture
 * @property {Uint8Array | null} small 8x8 RGB
 * @property {Float32Array | null} points 110 landmarks in fractions of the picture
 * @property {Float64Array | null} hints
 */

export class Capture {
  /**
   * @param {import("../source/source.js").Source} source
   * @param {HTMLCanvasElement} canvas 256x256; shows what was cut out
   * @param {import("../source/crop.js").Crop} crop @param {import("../source/faces.js").FaceFinder} faces
   * @param {(frame: Frame) => void} onFrame @param {(ticks: number) => void} onSkipped
   */
  constructor(source, canvas, crop, faces, onFrame, onSkipped) {
    this._source = source;
    this._canvas = canvas;
    this._crop = crop;
    this._faces = faces;
    this._onFrame = onFrame;
    this._onSkipped = onSkipped;
    const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    if (!context) throw new Error("no canvas");
    this._context = context;
    context.imageSmoothingQuality = "high";
    /** @type {Worker | null} */
    this._worker = null;
    this._start = 0;
    this._next = 0;
    /** Whether a tick's picture is needed; said by who sends. @type {(number: number) => boolean} */
    this.wanted = () => true;
    /** Whether pictures are taken at all. */
    this.on = true;
  }

  start() {
    if (this._worker) return;
    this._next = 0;
    this._start = performance.now();
    this._worker = new Worker(new URL("./clock.js", import.meta.url));
    this._worker.onmessage = ({ data }) => this._tick(data);
    this._worker.postMessage({ every: TICK_MS });
  }

  stop() {
    this._worker?.terminate();
    this._worker = null;
  }

  /** The ticks to come begin later by so many ms. @param {number} ms */
  shift(ms) {
    this._worker?.postMessage({ shift: ms });
    this._start += ms;
  }

  get running() {
    return this._worker !== null;
  }

  /** @param {number} number of the tick that has ended by the worker's count */
  _tick(number) {
    const now = performance.now();
    // The worker began some ms after this page said so, and its count is the one that the numbers follow.
    if (this._next === 0) this._start = now - (number + 1) * TICK_MS;
    const late = now - this._start - (number + 1) * TICK_MS;
    if (late < 0) this._start += late; // the messages before were slower
    const missed = number - this._next;
    this._next = number + 1;
    if (missed > 0) this._onSkipped(missed);
    if (late > TICK_MS) {
      this._onSkipped(1);
      return;
    }
    this._onFrame({ number, start: this._start + number * TICK_MS, ...this._look(number) });
  }

  /** @param {number} number */
  _look(number) {
    const { video } = this._source;
    const nothing = { rgba: null, small: null, points: null, hints: null };
    if (!this.on || !video.videoWidth || video.readyState < 2 || !this.wanted(number)) return nothing;
    this._crop.setSource(video.videoWidth, video.videoHeight);
    const box = this._crop.box;
    this._context.drawImage(video, box.left, box.top, box.side, box.side, 0, 0, PICTURE, PICTURE);
    const rgba = this._context.getImageData(0, 0, PICTURE, PICTURE).data;
    const face = this._faces.look(rgba, box, video);
    if (this._faces.outline) this._crop.follow(this._faces.outline);
    return { rgba, small: area8x8(rgba), points: face?.points ?? null, hints: face?.hints ?? null };
  }
}

/** Whether this browser gives pages other pixels than were drawn, as a protection against being recognised. */
export function hidesPixels() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 16;
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  if (!context) return true;
  context.fillStyle = "rgb(60,120,180)";
  context.fillRect(0, 0, 16, 16);
  const { data } = context.getImageData(0, 0, 16, 16);
  return data.some((value, k) => Math.abs(value - [60, 120, 180, 255][k % 4]) > 8);
}
