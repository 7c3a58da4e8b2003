// Range coder: the same bytes as codec_models/bitstream/rangecoder.py, whose docstring gives the format.
// Frequencies add up to 2^15, the interval is scaled by 256 below 2^24, the code is the shortest in the interval.

import { BitstreamError } from "./errors.js";

export const TOTAL_BITS = 15;
export const TOTAL = 1 << TOTAL_BITS;
const TOP = 2 ** 32;
const RENORM = 1 << 24;
const MAX_GOLOMB_BITS = 12;

/** Collects symbols; `finish` gives the bytes. One instance serves any number of strings, one after the other. */
export class RangeEncoder {
  constructor() {
    this._bytes = new Uint8Array(1024); // What has been shifted out of `low`; a carry runs back into it.
    this.reset();
  }

  reset() {
    this._size = 0;
    this._low = 0; // 32 bits
    this._range = TOP - 1;
  }

  encode(cumulative, frequency) {
    const r = this._range >>> TOTAL_BITS;
    this._low += r * cumulative;
    if (this._low >= TOP) {
      this._low -= TOP;
      carry(this._bytes, this._size);
    }
    this._range = r * frequency;
    while (this._range < RENORM) {
      if (this._size + 4 >= this._bytes.length) this._grow();
      this._bytes[this._size++] = this._low >>> 24;
      this._low = (this._low << 8) >>> 0;
      this._range *= 256;
    }
  }

  /** A bit whose probability of being 1 is one / 2^15. */
  encodeBit(bit, one) {
    if (bit) this.encode(0, one);
    else this.encode(one, TOTAL - one);
  }

  /** A number of up to 15 bits, all values equally likely. */
  encodeUniform(value, bits) {
    this.encode(value << (TOTAL_BITS - bits), 1 << (TOTAL_BITS - bits));
  }

  /** Exponential Golomb code of order 0 for rare large values, 0 <= value < 2^12 - 1. */
  encodeGolomb(value) {
    const size = 32 - Math.clz32(value + 1);
    for (let k = 1; k < size; k++) this.encodeUniform(1, 1);
    this.encodeUniform(0, 1);
    if (size > 1) this.encodeUniform(value + 1 - (1 << (size - 1)), size - 1);
  }

  /** The shortest bytes in the interval, at least one. The encoder is then to be reset. */
  finish() {
    const width = this._size + 4;
    const low = this._bytes;
    put32(low, this._size, this._low);
    const last = low.slice(0, width);
    const end = this._low + this._range - 1;
    put32(last, this._size, end >= TOP ? end - TOP : end);
    if (end >= TOP) carry(last, this._size);
    // The first n bytes of `low`, rounded up, are the code; they lie inside once the two ends differ, or when nothing
    // but zeros follows.
    let zeros = width;
    while (zeros > 1 && low[zeros - 1] === 0) zeros--;
    let differ = 0;
    while (differ < width && low[differ] === last[differ]) differ++;
    const n = Math.min(zeros, differ + 1);
    const code = low.slice(0, n);
    if (n < zeros) carry(code, n);
    return code;
  }

  _grow() {
    const bytes = new Uint8Array(2 * this._bytes.length);
    bytes.set(this._bytes);
    this._bytes = bytes;
  }
}

/** Adds one to the number of the first `size` bytes; the interval never reaches past the first of them. */
function carry(bytes, size) {
  let k = size - 1;
  while (bytes[k] === 255) bytes[k--] = 0;
  bytes[k]++;
}

function put32(bytes, at, value) {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/**
 * Reads symbols from bytes; past the end it reads zeros. Bytes that no encoder wrote may take the difference out of the
 * interval. It then grows for ever and gives the last symbol each time, so that it may well lose digits as a double.
 */
export class RangeDecoder {
  /** @param {Uint8Array} data */
  constructor(data) {
    this._data = data;
    this._at = 4;
    this._difference = 0;
    for (let k = 0; k < 4; k++) this._difference = this._difference * 256 + (k < data.length ? data[k] : 0);
    this._range = TOP - 1;
  }

  _position() {
    return Math.min(Math.floor(this._difference / (this._range >>> TOTAL_BITS)), TOTAL - 1);
  }

  _take(cumulative, frequency) {
    const r = this._range >>> TOTAL_BITS;
    this._difference -= r * cumulative;
    this._range = r * frequency;
    while (this._range < RENORM) {
      const byte = this._at < this._data.length ? this._data[this._at] : 0;
      this._difference = this._difference * 256 + byte;
      this._range *= 256;
      this._at++;
    }
  }

  /** Index of the symbol; `table` holds, from `at` on, one cumulative frequency per symbol and 2^15 at the end. */
  decode(table, at, symbols) {
    const value = this._position();
    let low = 0;
    let high = symbols;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (table[at + middle] <= value) low = middle;
      else high = middle;
    }
    this._take(table[at + low], table[at + low + 1] - table[at + low]);
    return low;
  }

  decodeBit(one) {
    if (this._position() < one) {
      this._take(0, one);
      return 1;
    }
    this._take(one, TOTAL - one);
    return 0;
  }

  decodeUniform(bits) {
    const value = this._position() >> (TOTAL_BITS - bits);
    this._take(value << (TOTAL_BITS - bits), 1 << (TOTAL_BITS - bits));
    return value;
  }

  /** Raises BitstreamError when the value would not fit 12 bits. */
  decodeGolomb() {
    let size = 1;
    while (this.decodeUniform(1)) {
      size++;
      if (size > MAX_GOLOMB_BITS) throw new BitstreamError("a value is out of range");
    }
    return (1 << (size - 1)) - 1 + (size > 1 ? this.decodeUniform(size - 1) : 0);
  }

  /** Raises BitstreamError when bytes are left over that no encoder would have written. */
  finish() {
    const size = this._data.length;
    if (size > this._at || (size > 1 && this._data[size - 1] === 0)) {
      throw new BitstreamError("bytes are left over after the last symbol");
    }
  }
}

/**
 * Static frequencies of the integers -reach to reach, with an escape at either end for what lies beyond. Many tables
 * lie in one array, each as 2 reach + 4 cumulative frequencies.
 */
export class SymbolTables {
  /** @param {ArrayLike<number>} frequencies rows of 2 reach + 3 positive integers that add up to 2^15 each */
  constructor(frequencies, reach) {
    this.reach = reach;
    this.symbols = 2 * reach + 3;
    const rows = frequencies.length / this.symbols;
    this._cumulative = new Int32Array(rows * (this.symbols + 1));
    for (let row = 0; row < rows; row++) {
      let sum = 0;
      for (let k = 0; k < this.symbols; k++) {
        const f = frequencies[row * this.symbols + k];
        if (!(f >= 1)) throw new RangeError("frequencies must be positive");
        sum += f;
        this._cumulative[row * (this.symbols + 1) + k + 1] = sum;
      }
      if (sum !== TOTAL) throw new RangeError("frequencies must add up to 2^15");
    }
  }

  /** |value| at most reach + 4095. */
  encode(row, value, coder) {
    const edge = this.reach + 1;
    const at = row * (this.symbols + 1) + Math.min(Math.max(value, -edge), edge) + edge;
    coder.encode(this._cumulative[at], this._cumulative[at + 1] - this._cumulative[at]);
    if (Math.abs(value) > this.reach) coder.encodeGolomb(Math.abs(value) - edge);
  }

  /** Raises BitstreamError when the value is beyond what `encode` takes. */
  decode(row, coder) {
    const edge = this.reach + 1;
    const value = coder.decode(this._cumulative, row * (this.symbols + 1), this.symbols) - edge;
    if (value === -edge) return value - coder.decodeGolomb();
    return value === edge ? value + coder.decodeGolomb() : value;
  }
}
