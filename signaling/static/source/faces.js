/**
 * Where the face is, by whatever this browser and this server have: landmarks (`points.js`, which need weights) and the
 * browser's own face detector. Either may be missing; then the square is moved by hand and there are no hints.
 */
import { outlineOf } from "./crop.js";

const WEIGHTS = "/weights/face_points.safetensors";
const SURE = 0.5;
const KEEP_TICKS = 25; // A face that was last seen so long ago is followed no more.
const DETECT_TICKS = 8;
const SLOW_MS = [9, 22]; // Looking that takes longer is done in every 2nd tick, every 5th tick.
const DETECTOR_HEIGHT = 1.25; // Detectors frame brows to chin; the forehead belongs to the face here.

/** @typedef {import("./crop.js").Outline} Outline */

export class FaceFinder {
  constructor() {
    /** @type {any} */
    this._points = null;
    /** @type {((points: Float32Array) => Float64Array) | null} */
    this._hintsOf = null;
    /** @type {any} */
    this._detector = null;
    this._detecting = false;
    /** @type {Outline | null} */
    this._outline = null;
    this._age = 0;
    this._cost = 0;
    this._since = 0;
    const Detector = /** @type {any} */ (globalThis).FaceDetector;
    if (typeof Detector === "function") {
      try {
        this._detector = new Detector({ fastMode: true, maxDetectedFaces: 1 });
      } catch {
        // Named, but not there.
      }
    }
  }

  /** Fetches the landmark network; without it there is none. */
  async load() {
    try {
      const { FacePoints, hintsOf } = await import("./points.js");
      const response = await fetch(WEIGHTS);
      if (!response.ok) return;
      this._points = await FacePoints.load(await response.arrayBuffer());
      this._hintsOf = hintsOf;
    } catch {
      // The page does without.
    }
  }

  /** Whether hints can be sent. */
  get hints() {
    return this._points !== null;
  }

  /** Whether faces can be found at all. */
  get any() {
    return this._points !== null || this._detector !== null;
  }

  /** Outline of the face in pixels of the source, null when none was seen lately. */
  get outline() {
    return this._outline;
  }

  /** Another source: what was seen is gone. */
  reset() {
    this._outline = null;
    this._age = 0;
  }

  /**
   * Look at a tick's picture.
   * @param {Uint8ClampedArray} rgba 256x256, cut out of box
   * @param {{left: number, top: number, side: number}} box
   * @param {HTMLVideoElement} video
   * @returns {{points: Float32Array, hints: Float64Array} | null}
   */
  look(rgba, box, video) {
    this._age += 1;
    if (this._age > KEEP_TICKS) this._outline = null;
    if (this._detector && !this._detecting && this._age >= DETECT_TICKS) this._detect(video);
    this._since += 1;
    const every = this._cost > SLOW_MS[1] ? 5 : this._cost > SLOW_MS[0] ? 2 : 1;
    if (!this._points || this._since < every) return null;
    this._since = 0;
    const began = performance.now();
    const { points, confidence } = this._points.find(rgba);
    const found = confidence >= SURE && points.every(Number.isFinite);
    this._cost += 0.05 * (performance.now() - began - this._cost);
    if (!found || !this._hintsOf) return null;
    if (!this._detector || this._outline === null) this._saw(outlineOf(points, box));
    return { points, hints: this._hintsOf(points) };
  }

  /** @param {Outline} outline */
  _saw(outline) {
    this._outline = outline;
    this._age = 0;
  }

  /** @param {HTMLVideoElement} video */
  async _detect(video) {
    this._detecting = true;
    try {
      const [face] = await this._detector.detect(video);
      if (face) {
        const { left, right, bottom, height } = face.boundingBox;
        this._saw({ left, right, bottom, top: bottom - DETECTOR_HEIGHT * height });
      }
    } catch {
      this._detector = null; // This system has no detector behind the name.
    } finally {
      this._detecting = false;
    }
  }
}
