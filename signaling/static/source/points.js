/**
 * The landmarks of a face in a 256x256 picture: the network of `codec_models/face_points.py`, run here on one core, and
 * the hints that follow from them. Pure.
 */
import { parseSafetensors } from "../coder/safetensors.js";
import { Step } from "./layers.js";

const SIDE = 256;
export const POINTS = 110;
// Places of landmarks in wire order (`codec_models/landmarks.py`).
const MOUTH = Array.from({ length: 40 }, (_, k) => k);
const LEFT_EYE = [40, 41, 42, 43, 44, 45, 108];
const RIGHT_EYE = [49, 48, 47, 46, 51, 50, 109]; // each the mirror image of the one in its place above
const [OUTER_LEFT, OUTER_RIGHT, NOSE] = [40, 49, 62];

/** @type {Record<string, import("./layers.js").Shape>} */
const SHAPES = {
  whole: {
    width: 64, height: 64, channels: [12, 20, 32, 48], blocks: [], squeezed: 24, dense: 32, outputs: 4, extra: 0,
    stride: 2,
  },
  face: {
    width: 80, height: 80, channels: [16, 24, 36, 48], blocks: [2, 3], squeezed: 24, dense: 48,
    outputs: 2 * POINTS + 1, extra: 0, stride: 2,
  },
  eye: {
    width: 32, height: 24, channels: [12, 20, 32, 40], blocks: [], squeezed: 20, dense: 48, outputs: 14, extra: 14,
    stride: 1,
  },
  mouth: {
    width: 40, height: 32, channels: [16, 28, 40], blocks: [1], squeezed: 20, dense: 48, outputs: 80, extra: 80,
    stride: 2,
  },
};
// From the middle of a patch to its edges: of the face in units of the landmarks' root mean square distance, of eyes and
// mouth in distances of the outer eye corners.
const [FACE_REACH, EYE_REACH, MOUTH_REACH] = [[1.85, 1.85], [0.27, 0.2025], [0.52, 0.416]];
const [USUAL_HEAD, HEAD_SCALE, OFFSET] = [[0.5, 0.53, -1.55, 0], [0.1, 0.1, 0.2, 0.2], 0.1];

/** @typedef {{x: number, y: number, size: number, roll: number}} Frame in fractions of the picture's side, radians */

export class FacePoints {
  /**
   * @param {ArrayBuffer} buffer `face_points.safetensors`
   * Raises Error where it is not exactly that.
   */
  static load(buffer) {
    return new FacePoints(buffer);
  }

  /** @param {ArrayBuffer} buffer */
  constructor(buffer) {
    const tensors = parseSafetensors(buffer);
    for (const [name, { dtype, data }] of tensors) {
      if (dtype !== "F16") throw new Error(`${name} is of type ${dtype}, not F16`);
      if (!Array.prototype.every.call(data, Number.isFinite)) throw new Error(`${name} is not finite`);
    }
    const steps = Object.entries(SHAPES).map(([name, shape]) => new Step(tensors, name, shape));
    if (tensors.size) throw new Error(`the weights have an unknown ${[...tensors.keys()][0]}`);
    [this._whole, this._face, this._eye, this._mouth] = steps;
    this._half = new Float32Array((SIDE / 2) ** 2 * 3);
  }

  /**
   * @param {Uint8ClampedArray} rgba 256x256
   * @returns {{points: Float32Array, confidence: number}} (220,): x and y of each landmark in wire order, in fractions of
   * the picture's side; 0 to 1: whether there is a face whose landmarks can be trusted
   */
  find(rgba) {
    if (rgba.length !== 4 * SIDE * SIDE) throw new RangeError("a picture has 256x256 pixels of four bytes");
    this._halve(rgba);
    this._shrink();
    even(this._whole.input);
    this._whole.run();
    const [x, y, size, roll] = USUAL_HEAD.map((usual, k) => usual + HEAD_SCALE[k] * this._whole.told[k]);
    const head = { x, y, size: Math.exp(size), roll };
    this._cut(rgba, this._face, head, FACE_REACH, false, false);
    this._face.run();
    const points = new Float32Array(2 * POINTS);
    const shape = this._face.told;
    for (let k = 0; k < POINTS; k++) {
      points.set(placed(shape[2 * k] * OFFSET, shape[2 * k + 1] * OFFSET, head), 2 * k);
    }
    const confidence = 1 / (1 + Math.exp(-shape[2 * POINTS]));
    const near = points.slice();
    this._refine(rgba, this._eye, near, points, LEFT_EYE, EYE_REACH, false, true);
    this._refine(rgba, this._eye, near, points, RIGHT_EYE, EYE_REACH, true, true);
    this._refine(rgba, this._mouth, near, points, MOUTH, MOUTH_REACH, false, false);
    return { points, confidence };
  }

  /**
   * Find the landmarks of index anew in a closer look, from where near has them.
   * @param {Uint8ClampedArray} rgba @param {Step} step @param {Float32Array} near @param {Float32Array} points
   * @param {number[]} index @param {number[]} reach @param {boolean} mirrored @param {boolean} fine
   */
  _refine(rgba, step, near, points, index, reach, mirrored, fine) {
    const frame = { x: 0, y: 0, ...eyeUnit(near) };
    for (const k of index) {
      frame.x += near[2 * k] / index.length;
      frame.y += near[2 * k + 1] / index.length;
    }
    const flip = mirrored ? -1 : 1;
    const known = step.extra;
    const [cos, sin] = [Math.cos(frame.roll) / frame.size, Math.sin(frame.roll) / frame.size];
    index.forEach((k, at) => {
      const [dx, dy] = [near[2 * k] - frame.x, near[2 * k + 1] - frame.y];
      known[2 * at] = (flip * (dx * cos + dy * sin)) / OFFSET;
      known[2 * at + 1] = (dy * cos - dx * sin) / OFFSET;
    });
    this._cut(rgba, step, frame, reach, mirrored, fine);
    step.run();
    index.forEach((k, at) => {
      const [across, down] = [step.told[2 * at] + known[2 * at], step.told[2 * at + 1] + known[2 * at + 1]];
      points.set(placed(flip * across * OFFSET, down * OFFSET, frame), 2 * k);
    });
  }

  /** Averages over 2x2 pixels. @param {Uint8ClampedArray} rgba */
  _halve(rgba) {
    const half = this._half;
    for (let row = 0, to = 0; row < SIDE; row += 2) {
      for (let column = 0; column < SIDE; column += 2) {
        const from = 4 * (row * SIDE + column);
        const below = from + 4 * SIDE;
        for (let c = 0; c < 3; c++) {
          half[to++] = (rgba[from + c] + rgba[from + 4 + c] + rgba[below + c] + rgba[below + 4 + c]) / 4;
        }
      }
    }
  }

  /** Averages over 4x4 pixels, to the first step. */
  _shrink() {
    const [half, { data, width, height }] = [this._half, this._whole.input];
    const line = 3 * (SIDE / 2);
    for (let row = 0; row < height; row++) {
      let to = 3 * ((row + 1) * (width + 2) + 1);
      for (let column = 0; column < width; column++) {
        const from = 2 * row * line + 6 * column;
        for (let c = from; c < from + 3; c++) {
          data[to++] = (half[c] + half[c + 3] + half[c + line] + half[c + line + 3]) / 4;
        }
      }
    }
  }

  /**
   * Fill a step's input with what lies around a frame, bilinear; beyond the edges their nearest pixels.
   * @param {Uint8ClampedArray} rgba @param {Step} step @param {Frame} frame @param {number[]} reach
   * @param {boolean} mirrored @param {boolean} fine of the picture itself, else of its averages over 2x2 pixels
   */
  _cut(rgba, step, frame, reach, mirrored, fine) {
    const { data, width, height } = step.input;
    const [source, side, pixel] = fine ? [rgba, SIDE, 4] : [this._half, SIDE / 2, 3];
    const last = side - 1;
    const across = (mirrored ? -reach[0] : reach[0]) * frame.size * side;
    const down = reach[1] * frame.size * side;
    const [cos, sin] = [Math.cos(frame.roll), Math.sin(frame.roll)];
    const [x0, y0] = [frame.x * side - 0.5, frame.y * side - 0.5];
    for (let row = 0; row < height; row++) {
      const v = (((row + 0.5) / height) * 2 - 1) * down;
      let to = 3 * ((row + 1) * (width + 2) + 1);
      for (let column = 0; column < width; column++) {
        const u = (((column + 0.5) / width) * 2 - 1) * across;
        const x = Math.min(Math.max(x0 + u * cos - v * sin, 0), last);
        const y = Math.min(Math.max(y0 + u * sin + v * cos, 0), last);
        const left = Math.min(Math.floor(x), last - 1);
        const top = Math.min(Math.floor(y), last - 1);
        const [right, bottom] = [x - left, y - top];
        const from = pixel * (top * side + left);
        const below = from + pixel * side;
        for (let c = 0; c < 3; c++) {
          const upper = source[from + c] + right * (source[from + pixel + c] - source[from + c]);
          const lower = source[below + c] + right * (source[below + pixel + c] - source[below + c]);
          data[to++] = upper + bottom * (lower - upper);
        }
      }
    }
    even(step.input);
  }
}

/** Bytes to numbers without their mean, in units of their standard deviation. @param {import("./layers.js").Plane} plane */
function even({ data, width, height }) {
  const [line, row] = [3 * (width + 2), 3 * width];
  let [sum, squares] = [0, 0];
  for (let y = 1; y <= height; y++) {
    for (let k = y * line + 3, end = k + row; k < end; k++) {
      const value = data[k] / 127.5 - 1;
      data[k] = value;
      sum += value;
      squares += value * value;
    }
  }
  const mean = sum / (row * height);
  const scale = 1 / (Math.sqrt(Math.max(0, squares / (row * height) - mean * mean)) + 0.05);
  for (let y = 1; y <= height; y++) {
    for (let k = y * line + 3, end = k + row; k < end; k++) data[k] = (data[k] - mean) * scale;
  }
}

/** From a frame's own coordinates to the picture's. @param {number} u @param {number} v @param {Frame} frame */
function placed(u, v, { x, y, size, roll }) {
  const [cos, sin] = [Math.cos(roll), Math.sin(roll)];
  return [x + size * (u * cos - v * sin), y + size * (u * sin + v * cos)];
}

/** Distance of the outer eye corners and the roll of their line. @param {Float32Array} points */
function eyeUnit(points) {
  const dx = points[2 * OUTER_RIGHT] - points[2 * OUTER_LEFT];
  const dy = points[2 * OUTER_RIGHT + 1] - points[2 * OUTER_LEFT + 1];
  // the network counts in [-1, 1], and keeps the logarithm finite
  return { size: Math.sqrt(4 * (dx * dx + dy * dy) + 1e-6) / 2, roll: Math.atan2(dy, dx) };
}

/**
 * What an 8x8 picture cannot show, as `hints_of` in `codec_models/landmarks.py` measures it.
 * @param {Float32Array} points (220,)
 * @returns {Float64Array} (12,), in the order of `HINT_NAMES`
 */
export function hintsOf(points) {
  const apart = (/** @type {number} */ a, /** @type {number} */ b) =>
    Math.hypot(points[2 * a] - points[2 * b], points[2 * a + 1] - points[2 * b + 1]);
  const eye = Math.max(apart(OUTER_LEFT, OUTER_RIGHT), 1e-6);
  let [x, y] = [0, 0];
  for (let k = 0; k < POINTS; k++) {
    x += points[2 * k] / POINTS;
    y += points[2 * k + 1] / POINTS;
  }
  let squares = 0;
  for (let k = 0; k < POINTS; k++) squares += (points[2 * k] - x) ** 2 + (points[2 * k + 1] - y) ** 2;
  const size = Math.max(Math.sqrt(squares / POINTS), 1e-6);
  const { roll } = eyeUnit(points);
  const [noseX, noseY] = [(points[2 * NOSE] - x) / size, (points[2 * NOSE + 1] - y) / size];
  const [left, right] = [gaze(points, 40, 43, 108), gaze(points, 49, 46, 109)];
  return Float64Array.of(
    apart(35, 25) / eye,
    apart(20, 30) / eye,
    (apart(41, 45) + apart(42, 44)) / (2 * eye),
    (apart(47, 51) + apart(48, 50)) / (2 * eye),
    (left[0] + right[0]) / 2,
    (left[1] + right[1]) / 2,
    x,
    y,
    Math.log(size),
    roll,
    noseX * Math.cos(roll) + noseY * Math.sin(roll),
    noseY * Math.cos(roll) - noseX * Math.sin(roll),
  );
}

/**
 * Where an iris stands between the corners of its eye, in widths of the eye: right and down in the picture.
 * @param {Float32Array} points @param {number} outer @param {number} inner @param {number} iris
 */
function gaze(points, outer, inner, iris) {
  let ax = points[2 * inner] - points[2 * outer];
  let ay = points[2 * inner + 1] - points[2 * outer + 1];
  const width = Math.max(Math.hypot(ax, ay), 1e-6);
  const sign = ax >= 0 ? width : -width;
  [ax, ay] = [ax / sign, ay / sign];
  const dx = points[2 * iris] - (points[2 * outer] + points[2 * inner]) / 2;
  const dy = points[2 * iris + 1] - (points[2 * outer + 1] + points[2 * inner + 1]) / 2;
  return [(dx * ax + dy * ay) / width, (dy * ax - dx * ay) / width];
}
