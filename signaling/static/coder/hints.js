// The hint layer: what 8x8 pixels cannot show and the sender knows anyway. Format: codec_models/bitstream/hints.py.

import { BitstreamError } from "./errors.js";
import { HINTS, HINT_CONTEXTS } from "./prior.js";

/** Order of the values in all arrays of hints. */
export const HINT_NAMES = [
  "mouth_open", "mouth_width", "eye_left", "eye_right", "gaze_x", "gaze_y",
  "head_x", "head_y", "head_size", "head_roll", "head_yaw", "head_pitch",
];
/** Quantiser steps, in the hints' own units. */
export const STEPS = [
  1 / 48, 1 / 32, 1 / 64, 1 / 64, 1 / 16, 1 / 12, 1 / 128, 1 / 128, 1 / 25, 1 / 25, 1 / 16, 1 / 16,
];
/** Least and greatest value of each hint, in steps. */
const LOWEST = [0, 0, 0, 0, -8, -6, -64, -64, -100, -40, -24, -24];
const HIGHEST = [72, 48, 24, 24, 8, 6, 192, 192, 10, 40, 24, 24];
/** Index of the hint that each hint's table depends on beside its own changes, or its own index. */
const COMPANIONS = [0, 0, 2, 2, 2, 3, 6, 6, 7, 6, 6, 7];
/** A change of less than half a step and this much of one is not sent. */
const DEAD_ZONES = [0.15, 0.15, 0.15, 0.15, 0.15, 0.15, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25];

const clip = (value, low, high) => (value < low ? low : value > high ? high : value);

/** The last values and changes, in steps; the same at both ends. */
export class HintState {
  /** @param {import("./prior.js").FacePrior} prior */
  constructor(prior) {
    this._prior = prior;
    this._values = new Int32Array(HINTS);
    this._now = new Int32Array(HINTS);
    this._changes = new Int32Array(HINTS);
    this._before = new Int32Array(HINTS);
    this.refresh();
  }

  /** Forget the past: the next tick is coded on its own. */
  refresh() {
    this._values.set(this._prior.hintMean);
    this._changes.fill(0);
    this._before.fill(0);
    this._fresh = true;
  }

  _row(k) {
    if (this._fresh) return k * HINT_CONTEXTS + HINT_CONTEXTS - 1;
    const past = clip(this._changes[k] + this._before[k], -2, 2);
    const companion = COMPANIONS[k];
    let beside;
    if (companion < k) {
      beside = Math.sign(this._now[companion]);
    } else {
      const above = this._values[k] - this._prior.hintMean[k];
      beside = above > 1 ? 1 : above < -1 ? -1 : 0;
    }
    return k * HINT_CONTEXTS + (past + 2) * 3 + beside + 1;
  }

  /** The values in their own units, (12,). */
  hints() {
    return Float64Array.from(this._values, (value, k) => value * STEPS[k]);
  }

  /** @param {ArrayLike<number>} hints (12,) in their own units; what is not a number counts as 0 */
  encode(hints, coder) {
    for (let k = 0; k < HINTS; k++) {
      const value = Number.isNaN(hints[k]) ? 0 : hints[k];
      const exact = clip(value / STEPS[k], LOWEST[k], HIGHEST[k]) - this._values[k];
      const zone = this._fresh ? 0 : DEAD_ZONES[k];
      this._now[k] = Math.sign(exact) * Math.floor(Math.abs(exact) + 0.5 - zone);
      this._prior.hintTables.encode(this._row(k), this._now[k], coder);
    }
    this._commit();
  }

  /** Raises BitstreamError when a value leaves its range. */
  decode(coder) {
    for (let k = 0; k < HINTS; k++) this._now[k] = this._prior.hintTables.decode(this._row(k), coder);
    this._commit();
  }

  _commit() {
    for (let k = 0; k < HINTS; k++) {
      const value = this._values[k] + this._now[k];
      if (value < LOWEST[k] || value > HIGHEST[k]) throw new BitstreamError("a hint is out of range");
    }
    for (let k = 0; k < HINTS; k++) this._values[k] += this._now[k];
    if (!this._fresh) [this._changes, this._before, this._now] = [this._now, this._changes, this._before];
    this._fresh = false;
  }
}
