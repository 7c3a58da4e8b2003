// The prior of the face layer: what the next symbol will probably be. The same numbers as
// codec_models/bitstream/prior.py, whose docstring gives the layers. All weights are integers and all sums stay below
// 2^53, so doubles hold them exactly, in whatever order they are added.

import { TOTAL, TOTAL_BITS, SymbolTables } from "./rangecoder.js";
import { parseSafetensors } from "./safetensors.js";

/** Symbols reach from -15 to 15 around the centre; the outermost two table entries are escapes. */
export const REACH = 15;
export const SYMBOLS = 2 * REACH + 3;
export const FRACTIONS = 5;
const WIDTHS = 56;
const WIDTH_LOW = -24;
const WIDTH_HIGH = 31;
export const HINTS = 12;
export const HINT_CONTEXTS = 16;
const HINT_REACH = 7;
const HIDDEN1 = 48;
const HIDDEN2 = 32;
const GLOBALS = 12;

const SIDE = 12; // of a plane with two pixels of margin
const PLANE = SIDE * SIDE;
// Sources in the padded buffer, three planes each: level, difference of the two pictures before, symbols of the last
// picture, symbols of this one and their magnitudes.
const [LEVEL, MOTION, LAST, NOW, NOW_ABS] = [0, 1, 2, 3, 4].map((k) => 3 * k * PLANE);

/** Picture 40 or 80 ms after the one before; later than that; on its own. */
export const KIND_FAST = 0;
export const KIND_SLOW = 1;
export const KIND_INTRA = 2;

function square(reach, manhattan = 2 * reach) {
  const offsets = [];
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) if (Math.abs(y) + Math.abs(x) <= manhattan) offsets.push([y, x]);
  }
  return offsets;
}

const HERE = [[0, 0]];
const NEAR = square(2, 2);
const AROUND = square(1);
const WIDE = square(2);
const CROSS = [[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]];

/** Coding order: luma in four interleaved quarter grids, then both colour planes in three quincunx steps. */
function groups() {
  const all = Array.from({ length: 64 }, (_, k) => k);
  const quarter = (a, b) => all.filter((k) => (k >> 3) % 2 === a && k % 2 === b);
  const luma = [quarter(0, 0), quarter(1, 1), quarter(0, 1), quarter(1, 0)];
  const rest = all.filter((k) => (k >> 3) % 2 !== k % 2);
  const both = (part) => [...part.map((k) => 64 + k), ...part.map((k) => 128 + k)];
  return [...luma, both(luma[0]), both(luma[1]), both(rest)];
}

const inPlane = (plane, k, [a, b]) => plane * PLANE + ((k >> 3) + a + 2) * SIDE + (k % 8) + b + 2;

/**
 * @typedef {object} Gather where a group's features lie
 * @property {Int32Array} pixels (n,) of 192
 * @property {Int32Array} inside (n,) the pixels' places in a padded source
 * @property {Int32Array} slope (n * 13) places of the levels around
 * @property {Int32Array} direct (n * taken) places in the buffer of everything that is taken as it is
 * @property {number} taken
 */

/** @returns {Gather[]} */
function makeGathers() {
  const known = new Set();
  return groups().map((pixels) => {
    /** Only the offsets at which some pixel, in the plane that `of` gives, has a neighbour that is coded before it. */
    const coded = (of, offsets) =>
      offsets.filter(([a, b]) =>
        pixels.some((p) => {
          const y = ((p % 64) >> 3) + a;
          const x = (p % 8) + b;
          return y >= 0 && y < 8 && x >= 0 && x < 8 && known.has(of(p >> 6) * 64 + 8 * y + x);
        }),
      );
    const same = (plane) => plane;
    const others = [(plane) => (plane + 1) % 3, (plane) => (plane + 2) % 3];
    const parts = [
      [MOTION, same, NEAR],
      ...others.map((of) => [MOTION, of, CROSS]),
      [LAST, same, AROUND],
      ...[0, 1, 2].map((plane) => [LEVEL, () => plane, HERE]),
      [NOW, same, coded(same, WIDE)],
      [NOW_ABS, same, coded(same, NEAR)],
      ...others.map((of) => [NOW, of, coded(of, AROUND)]),
    ];
    const places = (p, [source, of, offsets]) => offsets.map((o) => source + inPlane(of(p >> 6), p % 64, o));
    const direct = pixels.flatMap((p) => parts.flatMap((part) => places(p, part)));
    const gather = {
      pixels: Int32Array.from(pixels),
      inside: Int32Array.from(pixels, (p) => inPlane(p >> 6, p % 64, [0, 0])),
      slope: Int32Array.from(pixels.flatMap((p) => places(p, [LEVEL, same, NEAR]))),
      direct: Int32Array.from(direct),
      taken: direct.length / pixels.length,
    };
    for (const p of pixels) known.add(p);
    return gather;
  });
}

/** One a group, in coding order. */
export const GATHERS = makeGathers();

function shapes() {
  const result = {
    mean: [192],
    frequency: [WIDTHS, FRACTIONS, SYMBOLS],
    hint_mean: [HINTS],
    hint_frequency: [HINTS, HINT_CONTEXTS, 2 * HINT_REACH + 3],
  };
  GATHERS.forEach(({ pixels, taken }, g) => {
    result[`${g}.w1`] = [HIDDEN1, NEAR.length + taken + GLOBALS];
    result[`${g}.b1`] = [pixels.length, HIDDEN1];
    result[`${g}.w2`] = [HIDDEN2, HIDDEN1];
    result[`${g}.b2`] = [HIDDEN2];
    result[`${g}.w3`] = [2, HIDDEN2];
    result[`${g}.b3`] = [2];
  });
  return result;
}

/** Matrix (rows, columns) -> its transpose. */
function transposed(data, rows, columns) {
  const result = new Float64Array(rows * columns);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c];
  return result;
}

/**
 * Binary logarithm of 1 .. 2^15, rounded to the nearest double: engines may differ in the last bit of Math.log2, and
 * an encoder's decision between two symbols that cost the same may hang on it.
 */
export function exactLog2(value) {
  const whole = 31 - Math.clz32(value);
  let x = BigInt(value) << BigInt(128 - whole); // 1 <= x / 2^128 < 2
  let bits = BigInt(whole);
  for (let k = 0; k < 80; k++) {
    x = (x * x) >> 128n;
    const one = x >> 129n;
    x >>= one;
    bits = (bits << 1n) | one;
  }
  return Number(bits) * 2 ** -80;
}

const clip = (value, low, high) => (value < low ? low : value > high ? high : value);

/**
 * acc += the rows of `weights` that `indices` names, times `values`. Four rows at once: the sums are then read and
 * written once for four products.
 */
function addRows(acc, size, weights, indices, values, count) {
  let k = 0;
  for (; k + 3 < count; k += 4) {
    const v0 = values[k];
    const v1 = values[k + 1];
    const v2 = values[k + 2];
    const v3 = values[k + 3];
    const r0 = indices[k] * size;
    const r1 = indices[k + 1] * size;
    const r2 = indices[k + 2] * size;
    const r3 = indices[k + 3] * size;
    for (let j = 0; j < size; j++) {
      acc[j] += v0 * weights[r0 + j] + v1 * weights[r1 + j] + v2 * weights[r2 + j] + v3 * weights[r3 + j];
    }
  }
  for (; k < count; k++) {
    const v = values[k];
    const r = indices[k] * size;
    for (let j = 0; j < size; j++) acc[j] += v * weights[r + j];
  }
}

/** The trained integer perceptrons and tables. One instance serves any number of coders, one picture at a time. */
export class FacePrior {
  /**
   * @param {ArrayBuffer} buffer face_prior.safetensors
   * Raises Error where that is not a prior of this version.
   */
  static load(buffer) {
    return new FacePrior(parseSafetensors(buffer));
  }

  /** @param {Map<string, import("./safetensors.js").Tensor>} tensors */
  constructor(tensors) {
    const expected = Object.entries(shapes());
    const fits = ([name, shape]) => {
      const tensor = tensors.get(name);
      return tensor && /^[IU]/.test(tensor.dtype) && tensor.shape.join() === shape.join();
    };
    if (tensors.size !== expected.length || !expected.every(fits)) {
      throw new Error("the file does not hold a face prior of this version");
    }
    const data = (name) => tensors.get(name).data;
    /** (192,) planes of the mean face, in sixteenths. */
    this.mean = Int32Array.from(data("mean"));
    /** (12,) in steps. */
    this.hintMean = Int32Array.from(data("hint_mean"));
    /** Row: width index * 5 + index of the fraction. */
    this.tables = new SymbolTables(data("frequency"), REACH);
    /** Row: index of the hint * 16 + context. */
    this.hintTables = new SymbolTables(data("hint_frequency"), HINT_REACH);
    const cost = new Map();
    /** (56 * 5 * 33,) what each symbol costs, for decisions of the encoder only. */
    this.bits = Float64Array.from(data("frequency"), (f) => {
      if (!cost.has(f)) cost.set(f, f < TOTAL ? TOTAL_BITS - exactLog2(f) : 0);
      return cost.get(f);
    });
    this._layers = GATHERS.map(({ pixels, taken }, g) => {
      const t = (name) => data(`${g}.${name}`);
      return {
        features: NEAR.length + taken + GLOBALS,
        w1: transposed(t("w1"), HIDDEN1, NEAR.length + taken + GLOBALS),
        b1: Float64Array.from(t("b1")),
        w2: transposed(t("w2"), HIDDEN2, HIDDEN1),
        b2: Float64Array.from(t("b2")),
        w3: Float64Array.from(t("w3")),
        b3: Float64Array.from(t("b3")),
      };
    });
    const widest = Math.max(...GATHERS.map((gather) => gather.pixels.length));
    /** (n,) of the last `predict`: centres in eighths of a step, and width indices. */
    this.centre = new Int32Array(widest);
    this.width = new Int32Array(widest);
    this._buffer = new Float64Array(15 * PLANE);
    this._level = new Float64Array(3 * PLANE);
    this._common = new Float64Array(GLOBALS);
    this._step = null;
    // Room for one pixel's sums and for what is not zero of the layer before.
    this._base = new Float64Array(HIDDEN1);
    this._h1 = new Float64Array(HIDDEN1);
    this._h2 = new Float64Array(HIDDEN2);
    this._indices = new Int32Array(128);
    this._values = new Float64Array(128);
  }

  /**
   * Start a picture.
   * @param {Int32Array} before (192,) the decoded picture before it, in sixteenths
   * @param {Int32Array} before2 (192,) the one before that
   * @param {Int32Array} last (192,) symbols of the one before
   * @param {Int32Array} step (192,) quantiser steps in sixteenths
   * @param {number} kind
   * @param {boolean} lean
   */
  begin(before, before2, last, step, kind, lean) {
    const buffer = this._buffer;
    const level = this._level;
    buffer.fill(0, LAST);
    this._step = step;
    let motion = 0;
    const changed = [0, 0, 0];
    for (let plane = 0; plane < 3; plane++) {
      for (let y = 0; y < SIDE; y++) {
        for (let x = 0; x < SIDE; x++) {
          // The margin repeats the edge.
          const p = plane * 64 + clip(y - 2, 0, 7) * 8 + clip(x - 2, 0, 7);
          const at = plane * PLANE + y * SIDE + x;
          level[at] = before[p];
          buffer[LEVEL + at] = Math.floor(before[p] / 128);
          buffer[MOTION + at] = clip(Math.floor((4 * (before[p] - before2[p])) / step[p]), -64, 64);
        }
      }
      for (let k = 0; k < 64; k++) {
        const at = inPlane(plane, k, HERE[0]);
        const symbol = last[plane * 64 + k];
        buffer[LAST + at] = clip(4 * symbol, -32, 32);
        changed[plane] += Math.abs(symbol);
        if (plane === 0) motion += Math.abs(buffer[MOTION + at]);
      }
    }
    const common = this._common.fill(0);
    common[kind] = 8;
    common[3] = Math.floor(8 * Math.log2(step[0] / 64) + 0.5); // no step is near a rounding edge, so any log2 will do
    common[4] = lean ? 8 : 0;
    common[6] = Math.min(motion >> 5, 32);
    common[7] = Math.min(changed[0] >> 3, 32);
    common[8] = Math.min(changed[1] >> 3, 32);
  }

  /** Centre (in eighths of a step) and width index of every symbol of a group, into `centre` and `width`. */
  predict(group) {
    const { pixels, inside, slope, direct, taken } = GATHERS[group];
    const { features, w1, b1, w2, b2, w3, b3 } = this._layers[group];
    const { _indices: indices, _values: values, _buffer: buffer, _level: level } = this;
    const { _base: base, _h1: h1, _h2: h2 } = this;
    const near = NEAR.length;
    let count = 0;
    for (let k = 0; k < GLOBALS; k++) {
      if (this._common[k] === 0) continue;
      indices[count] = features - GLOBALS + k;
      values[count++] = this._common[k];
    }
    addRows(base.fill(0), HIDDEN1, w1, indices, values, count);
    for (let n = 0; n < pixels.length; n++) {
      const here = level[inside[n]];
      const step = this._step[pixels[n]];
      count = 0;
      for (let k = 0; k < near; k++) {
        const value = Math.floor((level[slope[n * near + k]] - here) / step);
        if (value === 0) continue;
        indices[count] = k;
        values[count++] = clip(value, -32, 32);
      }
      for (let k = 0; k < taken; k++) {
        const value = buffer[direct[n * taken + k]];
        if (value === 0) continue;
        indices[count] = near + k;
        values[count++] = value;
      }
      for (let j = 0; j < HIDDEN1; j++) h1[j] = base[j] + b1[n * HIDDEN1 + j];
      addRows(h1, HIDDEN1, w1, indices, values, count);
      count = 0;
      for (let j = 0; j < HIDDEN1; j++) {
        if (h1[j] < 128) continue; // comes to 0
        indices[count] = j;
        values[count++] = Math.min(Math.floor(h1[j] / 128), 32768);
      }
      h2.set(b2);
      addRows(h2, HIDDEN2, w2, indices, values, count);
      let centre = b3[0];
      let width = b3[1];
      for (let j = 0; j < HIDDEN2; j++) {
        if (h2[j] < 1024) continue;
        const value = Math.min(Math.floor(h2[j] / 1024), 32768);
        centre += value * w3[j];
        width += value * w3[HIDDEN2 + j];
      }
      this.centre[n] = clip(Math.floor(centre / 8192 + 0.5), -240, 240);
      this.width[n] = clip(Math.floor(width / 8192 + 0.5), WIDTH_LOW, WIDTH_HIGH) - WIDTH_LOW;
    }
  }

  /** Tell the prior a group's symbols. @param {Int32Array} symbols (192,), those of the group are read */
  update(group, symbols) {
    const { pixels, inside } = GATHERS[group];
    const sum = [0, 0, 0];
    for (let n = 0; n < pixels.length; n++) {
      const symbol = symbols[pixels[n]];
      const value = clip(4 * symbol, -64, 64);
      this._buffer[NOW + inside[n]] = value;
      this._buffer[NOW_ABS + inside[n]] = Math.abs(value);
      sum[pixels[n] >> 6] += Math.abs(symbol);
    }
    // A group holds pixels of luma alone, or as many of one colour difference as of the other.
    const each = group < 4 ? pixels.length : pixels.length / 2;
    for (let plane = group < 4 ? 0 : 1; plane < (group < 4 ? 1 : 3); plane++) {
      this._common[9 + plane] = Math.min(Math.floor((8 * sum[plane]) / each), 32);
    }
  }
}
