/**
 * When to send an identity still, and its making. The policy is pure: it takes the time as an argument and draws
 * nothing. The same rules and limits as in `sender/still_policy.py`, whose docstring gives the three measures of drift:
 * pose and place where there are landmarks, light from the 8x8 pictures always.
 *
 * @typedef {object} View of a tick
 * @property {Uint8Array} small 8x8 RGB
 * @property {number} sharpness in any unit
 * @property {Float32Array | null} points 110 landmarks, x and y in fractions of the picture, null without a face
 * @property {ArrayLike<number> | null} hints 12 of them, null without a face
 */
import { MAX_BYTES, encodeStill, headBytes } from "../coder/still.js";

export const SLOTS = 8; // stills that a receiver keeps

/**
 * firstWait: seconds after which the first still goes out however bad it is. gap: least seconds between two stills that
 * nobody asked for, perMinute: most of them in any minute; requestGap: least seconds before one that was asked for, of
 * which twice as many may go. hold: seconds that a drift must last. pose, shift, scale, light: limits of the drift.
 * eyes: least opening of the eyes and mouth: widest opening of the lips in a good still, in eye distances; sharp:
 * least share of the sharpest picture seen so far.
 */
export const STILLS = {
  firstWait: 0.6,
  gap: 10,
  perMinute: 3,
  requestGap: 1,
  hold: 0.4,
  pose: 0.15,
  shift: 0.25,
  scale: 1.5,
  light: 14,
  eyes: 0.045,
  mouth: 0.16,
  sharp: 0.6,
};

const RIGID = [52, 108]; // brows, nose and outline among the landmarks
const EYE_CORNERS = [40, 49];
const [MOUTH_OPEN, EYE_LEFT, EYE_RIGHT] = [0, 2, 3];

export class StillPolicy {
  /** @param {boolean} landmarks whether faces are found at all; without, only light and sharpness tell */
  constructor(landmarks, config = STILLS) {
    this._config = config;
    this._landmarks = landmarks;
    /** @type {Map<number, {view: View, fitted: number}>} By slot; fitted: when it last fitted best. */
    this._sent = new Map();
    /** @type {number[]} */
    this._times = [];
    /** @type {number | null} */
    this._start = null;
    this._sharpest = 0;
    this._poor = false; // the first still was sent for lack of time
    /** @type {number | null} */
    this._driftingSince = null;
    this._wanted = false;
  }

  /** The receiver has no still that it can use. */
  request() {
    this._wanted = true;
  }

  /** Slot of the still that fitted most recently, null before the first. */
  get best() {
    let best = null;
    let fitted = -Infinity;
    for (const [slot, sent] of this._sent) if (sent.fitted > fitted) [best, fitted] = [slot, sent.fitted];
    return best;
  }

  /**
   * Asked in every tick with a picture. @param {number} now seconds, not falling @param {View} view
   * @returns {number | null} slot of the still to make of this picture, 0..7
   */
  decide(now, view) {
    const config = this._config;
    this._start ??= now;
    this._sharpest = Math.max(0.998 * this._sharpest, view.sharpness);
    const good = this._good(view);
    if (!this._sent.size) {
      // A camera that has just been turned on still looks for its light.
      if (!(good && this._landmarks) && now - this._start < config.firstWait) return null;
      this._poor = !good;
      return this._send(now, view);
    }
    let nearest = 0;
    let least = Infinity;
    for (const [slot, sent] of this._sent) {
      const found = drift(sent.view, view, config);
      if (found < least) [nearest, least] = [slot, found];
    }
    if (least <= 1 && !(this._poor && good)) {
      const sent = this._sent.get(nearest);
      if (sent) sent.fitted = now;
      this._driftingSince = null;
    } else {
      this._driftingSince ??= now;
    }
    const recent = this._times.filter((t) => now - t < 60);
    const last = this._times[this._times.length - 1];
    if (this._wanted) {
      // What was sent may not have arrived, so the same picture may go again.
      const soon = now - last < config.requestGap || recent.length >= 2 * config.perMinute;
      return soon ? null : this._send(now, view, least <= 1 ? nearest : null);
    }
    if (this._driftingSince === null || !good) return null;
    const held = now - this._driftingSince >= config.hold;
    const waited = now - last >= (this._poor ? config.firstWait : config.gap);
    if (!held || !waited || recent.length >= config.perMinute) return null;
    return this._send(now, view, this._poor ? this.best : null);
  }

  /** @param {View} view */
  _good(view) {
    const { eyes, mouth, sharp } = this._config;
    if (view.sharpness < sharp * this._sharpest) return false;
    if (!this._landmarks) return true;
    if (!view.points || !view.hints) return false;
    if (Math.min(view.hints[EYE_LEFT], view.hints[EYE_RIGHT]) < eyes || view.hints[MOUTH_OPEN] > mouth) return false;
    return view.points.every((v) => Math.abs(v - 0.5) <= 0.55);
  }

  /** @param {number} now @param {View} view @param {number | null} slot */
  _send(now, view, slot = null) {
    const chosen = slot ?? this._free();
    if (this._sent.size) this._poor = false;
    this._sent.set(chosen, { view, fitted: now });
    this._times = [...this._times.filter((t) => now - t < 60), now];
    this._driftingSince = null;
    this._wanted = false;
    return chosen;
  }

  _free() {
    for (let slot = 0; slot < SLOTS; slot++) if (!this._sent.has(slot)) return slot;
    let oldest = 0;
    let fitted = Infinity;
    for (const [slot, sent] of this._sent) if (sent.fitted < fitted) [oldest, fitted] = [slot, sent.fitted];
    return oldest;
  }
}

/** How far a view has drifted from a still: 0 alike, above 1 too far. @param {View} still @param {View} view */
export function drift(still, view, config = STILLS) {
  const light = lightOf(still.small, view.small) / config.light;
  if (!view.points) return light;
  if (!still.points) return 2;
  const [a, b] = EYE_CORNERS;
  const p = still.points;
  const q = view.points;
  const unit = Math.max(Math.hypot(p[2 * a] - p[2 * b], p[2 * a + 1] - p[2 * b + 1]), 1e-3);
  const [px, py] = middle(p);
  const [qx, qy] = middle(q);
  const shift = Math.hypot(px - qx, py - qy) / config.shift;
  // Least-squares similarity q -> p as one complex factor (Umeyama 1991).
  let [real, imaginary, power, size] = [0, 0, 0, 0];
  for (let k = RIGID[0]; k < RIGID[1]; k++) {
    const [ax, ay, bx, by] = [p[2 * k] - px, p[2 * k + 1] - py, q[2 * k] - qx, q[2 * k + 1] - qy];
    real += bx * ax + by * ay;
    imaginary += bx * ay - by * ax;
    power += bx * bx + by * by;
    size += ax * ax + ay * ay;
  }
  power = Math.max(power, 1e-12);
  size = Math.max(size, 1e-12);
  // What the best similarity leaves: |p - f q|^2 = |p|^2 - |<q, p>|^2 / |q|^2.
  const left = Math.max(size - (real * real + imaginary * imaginary) / power, 0) / (RIGID[1] - RIGID[0]);
  const pose = Math.sqrt(left) / unit / config.pose;
  const scale = Math.abs(0.5 * Math.log(size / power)) / Math.log(config.scale);
  return Math.max(light, pose, shift, scale);
}

/** @param {Float32Array} points */
function middle(points) {
  let [x, y] = [0, 0];
  for (let k = RIGID[0]; k < RIGID[1]; k++) {
    x += points[2 * k];
    y += points[2 * k + 1];
  }
  return [x / (RIGID[1] - RIGID[0]), y / (RIGID[1] - RIGID[0])];
}

/** Root mean square difference of two 8x8 pictures, their means removed. @param {Uint8Array} a @param {Uint8Array} b */
function lightOf(a, b) {
  let squares = 0;
  for (let c = 0; c < 3; c++) {
    let [sum, square] = [0, 0];
    for (let k = c; k < 192; k += 3) {
      sum += a[k] - b[k];
      square += (a[k] - b[k]) ** 2;
    }
    squares += square - (sum * sum) / 64;
  }
  return Math.sqrt(squares / 192);
}

/** Mean square of the Laplacian of the green channel. @param {Uint8ClampedArray} rgba of 256x256 pixels */
export function sharpnessOf(rgba) {
  let sum = 0;
  for (let y = 1; y < 255; y++) {
    for (let at = 4 * (256 * y + 1) + 1, end = at + 4 * 254; at < end; at += 4) {
      const edge = rgba[at - 4] + rgba[at + 4] + rgba[at - 1024] + rgba[at + 1024] - 4 * rgba[at];
      sum += edge * edge;
    }
  }
  return sum / (254 * 254);
}

/**
 * A still at the best quality that fits, WebP where the browser writes it and JPEG elsewhere.
 * @param {HTMLCanvasElement} canvas 256x256, not drawn on meanwhile @param {Float32Array | null} points
 * @returns {Promise<Uint8Array | null>} the message's bytes; null where the browser writes neither
 */
export async function makeStill(canvas, points, limit = MAX_BYTES) {
  const type = (await written(canvas, "image/webp", 0.5)) ? "image/webp" : "image/jpeg";
  const room = limit - headBytes(points);
  let best = null;
  let [low, high] = [1, 95];
  while (low <= high) {
    const quality = (low + high) >> 1;
    const blob = await written(canvas, type, quality / 100);
    if (!blob) return null;
    const fits = blob.size <= room;
    if (best === null || fits || blob.size < best.size) best = blob;
    if (fits) low = quality + 1;
    else high = quality - 1;
  }
  return best && encodeStill(new Uint8Array(await best.arrayBuffer()), points);
}

/** @param {HTMLCanvasElement} canvas @param {string} type @param {number} quality 0 to 1 */
async function written(canvas, type, quality) {
  const blob = await new Promise((/** @type {(blob: Blob | null) => void} */ done) =>
    canvas.toBlob(done, type, quality));
  return blob && blob.type === type ? blob : null;
}
