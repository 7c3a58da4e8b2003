// The face layer: one 8x8 picture and its hints a tick, to bytes and back. Format, and the reason for each choice:
// codec_models/bitstream/face.py. The bytes are the same as that module writes.

import { UNIT, toPicture, toPlanes } from "./colour.js";
import { BitstreamError } from "./errors.js";
import { HintState } from "./hints.js";
import { FRACTIONS, GATHERS, KIND_FAST, KIND_INTRA, KIND_SLOW, REACH, SYMBOLS } from "./prior.js";
import { RangeDecoder, RangeEncoder, TOTAL } from "./rangecoder.js";

export { BitstreamError };

const VERSION = 2;
/** Luma quantiser step by quality index, in sixteenths of a level. */
export const STEPS = [24, 28, 32, 40, 48, 52, 56, 60, 64, 72, 80, 96, 112, 128, 160, 224];
const REFRESH_ONE = TOTAL / 64;
const AS_BEFORE = TOTAL - TOTAL / 64;
/** From this many ticks between two pictures the prior's kind is KIND_SLOW. */
const SLOW_TICKS = 3;
/** Quality and rate weight where none are given. */
const DEFAULTS = { "full-25": [10, 0.1], "full-5": [10, 0.13], "lean-25": [10, 0.1], "lean-5": [10, 0.1] };
const LEVEL_LIMIT = 400 * UNIT;
const MAX_SYMBOL = 600;
const PIXELS = 192;

/**
 * @typedef {object} FaceConfig settings of an encoder; the decoder learns what it needs from the bits
 * @property {"full" | "lean"} [profile] full: 8x8 chroma, finely; lean: chroma coarsely
 * @property {number} [quality] index into STEPS, 0 finest; without it as the native sender chooses
 * @property {25 | 5} [fps] picture rate that the sender will keep
 * @property {boolean} [hints] whether the sender gives them
 * @property {number} [refreshTicks] every so many ticks a refresh, 0 for only when asked
 * @property {number} [rateWeight] squared error, in steps, that a bit saved may cost
 */

/**
 * @typedef {object} FaceTick one decoded tick
 * @property {Uint8Array | null} picture 8x8 RGB, row by row, or null where the tick has none
 * @property {Float64Array | null} hints (12,) in the order of HINT_NAMES, in their own units
 * @property {boolean} clean false while ticks are missing and no refresh has come yet
 */

/** Expects what comes every n-th tick to come every n-th tick. */
class Rhythm {
  constructor() {
    this.restart();
  }

  restart() {
    this.period = 1;
    this.since = 0;
  }

  expected() {
    return this.since + 1 === this.period;
  }

  tick(present) {
    this.since += 1;
    if (!present) return;
    this.period = this.since;
    this.since = 0;
  }
}

/** What encoder and decoder both know. */
class Stream {
  constructor(prior) {
    this.prior = prior;
    this.hints = new HintState(prior);
    this.pictures = new Rhythm();
    this.hintTicks = new Rhythm();
    this.step = new Int32Array(PIXELS);
    this.before = new Int32Array(PIXELS);
    this.before2 = new Int32Array(PIXELS);
    this.last = new Int32Array(PIXELS);
    this.symbols = new Int32Array(PIXELS);
    this.restart(false, 0);
  }

  restart(lean, quality) {
    this.lean = lean;
    const y = STEPS[quality];
    const [blue, red] = lean ? [45, 52] : [15, 18];
    this.step.fill(y, 0, 64).fill((y * blue) >> 4, 64, 128).fill((y * red) >> 4, 128);
    this.before.set(this.prior.mean);
    this.before2.set(this.prior.mean);
    this.last.fill(0);
    this.intra = true;
    this.pictures.restart();
    this.hintTicks.restart();
    this.hints.refresh();
  }

  /** Make the prior ready for the next picture. */
  begin() {
    const kind = this.intra ? KIND_INTRA : this.pictures.since + 1 < SLOW_TICKS ? KIND_FAST : KIND_SLOW;
    this.prior.begin(this.before, this.before2, this.last, this.step, kind, this.lean);
  }

  /** Take `symbols` as those of the picture. Raises BitstreamError where a pixel leaves its range. */
  commit() {
    const { before, before2, symbols, step } = this;
    for (let k = 0; k < PIXELS; k++) {
      if (Math.abs(before[k] + symbols[k] * step[k]) > LEVEL_LIMIT) throw new BitstreamError("a pixel is out of range");
    }
    for (let k = 0; k < PIXELS; k++) {
      const decoded = before[k] + symbols[k] * step[k];
      before2[k] = this.intra ? decoded : before[k];
      before[k] = decoded;
    }
    [this.last, this.symbols] = [symbols, this.last];
    this.intra = false;
  }

  /** Probability that the bit is one, of 2^15. */
  presence(rhythm, refresh) {
    if (refresh) return TOTAL / 2;
    return rhythm.expected() ? AS_BEFORE : TOTAL - AS_BEFORE;
  }
}

/** Encodes the ticks of one stream in order. */
export class FaceEncoder {
  /**
   * @param {import("./prior.js").FacePrior} prior
   * @param {FaceConfig} [config]
   */
  constructor(prior, config = {}) {
    const { profile = "full", fps = 25, hints = true, refreshTicks = 0 } = config;
    const defaults = Object.hasOwn(DEFAULTS, `${profile}-${fps}`) ? DEFAULTS[`${profile}-${fps}`] : null;
    if (defaults === null) throw new RangeError(`profile ${profile} at ${fps} fps: full or lean at 25 or 5`);
    const { quality = defaults[0], rateWeight = defaults[1] } = config;
    if (!Number.isInteger(quality) || quality < 0 || quality >= STEPS.length) {
      throw new RangeError(`quality ${quality}: 0 to ${STEPS.length - 1}`);
    }
    this.config = Object.freeze({ profile, quality, fps, hints, refreshTicks, rateWeight });
    this._stream = new Stream(prior);
    this._coder = new RangeEncoder();
    this._planes = new Int32Array(PIXELS);
    this._refresh = true;
    this._ticks = 0;
  }

  /**
   * @param {Uint8Array | null} picture 8x8 RGB, row by row, or null: no face frame in this tick
   * @param {ArrayLike<number> | null} [hints] (12,) in the order of HINT_NAMES, or null
   * @returns {Uint8Array} the bytes of the tick; empty only where there is nothing to send, and even then the tick
   *   counts for the rhythm of pictures
   */
  encode(picture, hints = null) {
    if (picture !== null && picture.length !== PIXELS) throw new RangeError(`a picture of ${picture.length} bytes`);
    if (hints !== null && hints.length !== 12) throw new RangeError(`${hints.length} hints, not 12`);
    const s = this._stream;
    const { profile, quality, refreshTicks } = this.config;
    if (refreshTicks && this._ticks >= refreshTicks) this._refresh = true;
    this._ticks += 1;
    // A refresh waits for a tick with a picture, except at the very start and for a camera that is off.
    const refresh = this._refresh && (picture !== null || s.intra);
    if (picture === null && hints === null) {
      s.pictures.tick(false);
      s.hintTicks.tick(false);
      return new Uint8Array(0);
    }
    const coder = this._coder;
    coder.reset();
    coder.encodeBit(refresh, REFRESH_ONE);
    if (refresh) {
      s.restart(profile === "lean", quality);
      coder.encodeUniform(VERSION, 2);
      coder.encodeUniform(profile === "lean" ? 1 : 0, 1);
      coder.encodeUniform(quality, 4);
      this._ticks = 1;
      this._refresh = picture === null;
    }
    coder.encodeBit(picture !== null, s.presence(s.pictures, refresh));
    coder.encodeBit(hints !== null, s.presence(s.hintTicks, refresh));
    if (hints !== null) s.hints.encode(hints, coder);
    if (picture !== null) this._encodePicture(picture);
    s.pictures.tick(picture !== null);
    s.hintTicks.tick(hints !== null);
    return coder.finish();
  }

  /** Make the next picture independent of those before it; the receiver asked for it. */
  refresh() {
    this._refresh = true;
  }

  _encodePicture(picture) {
    const s = this._stream;
    const { prior, before, step, symbols } = s;
    const planes = toPlanes(picture, this._planes);
    s.begin();
    for (let g = 0; g < GATHERS.length; g++) {
      const { pixels } = GATHERS[g];
      prior.predict(g);
      for (let n = 0; n < pixels.length; n++) {
        const p = pixels[n];
        const row = tableRow(prior.width[n], prior.centre[n]);
        const symbol = this._choose((planes[p] - before[p]) / step[p], prior.centre[n], row);
        symbols[p] = symbol;
        prior.tables.encode(row, mirrored(symbol, prior.centre[n]), this._coder);
      }
      prior.update(g, symbols);
    }
    s.commit();
  }

  /** The symbol of a residual in steps, or the next one towards zero where the bits saved outweigh the error. */
  _choose(residual, centre, row) {
    const sign = Math.sign(residual);
    const largest = sign * Math.floor(Math.abs(residual) + 0.5);
    const smaller = largest - Math.sign(largest);
    return this._cost(residual, smaller, centre, row) < this._cost(residual, largest, centre, row) ? smaller : largest;
  }

  _cost(residual, symbol, centre, row) {
    const j = mirrored(symbol, centre);
    const index = Math.min(Math.max(j, -REACH - 1), REACH + 1) + REACH + 1;
    const excess = Math.abs(j) - REACH - 1;
    const golomb = excess < 0 ? 0 : 2 * (31 - Math.clz32(excess + 1)) + 1;
    const error = residual - symbol;
    return error * error + this.config.rateWeight * (this._stream.prior.bits[row * SYMBOLS + index] + golomb);
  }
}

/** Decodes the ticks of one stream in order. */
export class FaceDecoder {
  /** @param {import("./prior.js").FacePrior} prior */
  constructor(prior) {
    this._stream = new Stream(prior);
    this._broken = true;
    this._missed = false;
  }

  /** True while a tick is missing that later ones lean on: ask the sender for a refresh. */
  get needsRefresh() {
    return this._broken && this._missed;
  }

  /** The next tick never came. @returns {FaceTick} */
  lost() {
    this._broken = this._missed = true;
    return { picture: null, hints: null, clean: false };
  }

  /**
   * Bytes of the next tick -> picture and hints. A tick that leans on a lost one gives neither. Raises BitstreamError;
   * the state is then as after `lost`.
   * @param {Uint8Array} data
   * @returns {FaceTick}
   */
  decode(data) {
    const s = this._stream;
    if (data.length === 0) {
      s.pictures.tick(false);
      s.hintTicks.tick(false);
      return { picture: null, hints: null, clean: !this._broken };
    }
    try {
      return this._decode(new RangeDecoder(data));
    } catch (error) {
      if (error instanceof BitstreamError) this._broken = this._missed = true;
      throw error;
    }
  }

  _decode(coder) {
    const s = this._stream;
    const refresh = coder.decodeBit(REFRESH_ONE) === 1;
    if (!refresh && this._broken) {
      this._missed = true;
      return { picture: null, hints: null, clean: false };
    }
    if (refresh) {
      const version = coder.decodeUniform(2);
      if (version !== VERSION) {
        throw new BitstreamError(`face layer version ${version}, this program speaks ${VERSION}`);
      }
      const lean = coder.decodeUniform(1) === 1;
      s.restart(lean, coder.decodeUniform(4));
    }
    const hasPicture = coder.decodeBit(s.presence(s.pictures, refresh)) === 1;
    const hasHints = coder.decodeBit(s.presence(s.hintTicks, refresh)) === 1;
    if (!hasPicture && !hasHints) throw new BitstreamError("a tick with nothing in it");
    if (hasHints) s.hints.decode(coder);
    if (hasPicture) this._decodePicture(coder);
    coder.finish();
    s.pictures.tick(hasPicture);
    s.hintTicks.tick(hasHints);
    this._broken = this._missed = false;
    return { picture: hasPicture ? toPicture(s.before) : null, hints: hasHints ? s.hints.hints() : null, clean: true };
  }

  _decodePicture(coder) {
    const s = this._stream;
    const { prior, symbols } = s;
    s.begin();
    for (let g = 0; g < GATHERS.length; g++) {
      const { pixels } = GATHERS[g];
      prior.predict(g);
      for (let n = 0; n < pixels.length; n++) {
        const centre = prior.centre[n];
        const value = prior.tables.decode(tableRow(prior.width[n], centre), coder);
        const symbol = whole(centre) + (centre < 8 * whole(centre) ? -value : value);
        if (Math.abs(symbol) > MAX_SYMBOL) throw new BitstreamError("a symbol is out of range");
        symbols[pixels[n]] = symbol;
      }
      prior.update(g, symbols);
    }
    s.commit();
  }
}

/** Area average of a picture, 256x256 RGBA -> 8x8 RGB (192 bytes), rounded to nearest. */
export function area8x8(rgba) {
  if (rgba.length !== 256 * 256 * 4) throw new RangeError("a picture is 256x256 RGBA");
  const picture = new Uint8Array(PIXELS);
  for (let row = 0; row < 8; row++) {
    for (let column = 0; column < 8; column++) {
      let r = 512;
      let g = 512;
      let b = 512;
      for (let y = 32 * row; y < 32 * row + 32; y++) {
        const start = 4 * (256 * y + 32 * column);
        for (let at = start; at < start + 128; at += 4) {
          r += rgba[at];
          g += rgba[at + 1];
          b += rgba[at + 2];
        }
      }
      picture.set([r >> 10, g >> 10, b >> 10], 3 * (8 * row + column));
    }
  }
  return picture;
}

/** Whole steps of a centre in eighths. */
function whole(centre) {
  return (centre + 4) >> 3;
}

function tableRow(width, centre) {
  return width * FRACTIONS + Math.abs(centre - 8 * whole(centre));
}

/** A symbol as its table counts: from the centre's whole part, on the side of the fraction. */
function mirrored(symbol, centre) {
  const k = whole(centre);
  return centre < 8 * k ? k - symbol : symbol - k;
}
