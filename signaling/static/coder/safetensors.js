// Reads safetensors files: a little endian u64 with the length of a JSON header, the header, then the tensors' bytes.

const TYPES = {
  I8: Int8Array,
  U8: Uint8Array,
  I16: Int16Array,
  U16: Uint16Array,
  I32: Int32Array,
  U32: Uint32Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  F16: Uint16Array,
  F32: Float32Array,
  F64: Float64Array,
};
const MAX_HEADER_BYTES = 1 << 20;

/**
 * @typedef {{dtype: string, shape: number[], data: ArrayLike<number>}} Tensor
 * 64-bit integers come as Float64Array and must be below 2^53 in size, F16 as Float32Array.
 */

/**
 * @param {ArrayBuffer} buffer
 * @returns {Map<string, Tensor>}
 * Raises Error on what is not such a file or has a type that is not in the list above.
 */
export function parseSafetensors(buffer) {
  if (buffer.byteLength < 8) throw new Error("not a safetensors file");
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  if (size > MAX_HEADER_BYTES || 8 + size > buffer.byteLength) throw new Error("not a safetensors file");
  const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 8, size)));
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: [start, end] } = entry;
    const Type = Object.hasOwn(TYPES, dtype) ? TYPES[dtype] : null;
    if (Type === null) throw new Error(`tensor ${name} of type ${dtype}`);
    const count = shape.reduce((a, b) => a * b, 1);
    if (!(start >= 0 && end - start === count * Type.BYTES_PER_ELEMENT && 8 + size + end <= buffer.byteLength)) {
      throw new Error(`tensor ${name} lies outside the file`);
    }
    // A copy, as its place in the file need not be aligned.
    const data = new Type(buffer.slice(8 + size + start, 8 + size + end));
    const long = dtype === "I64" || dtype === "U64";
    tensors.set(name, { dtype, shape, data: long ? plain(data) : dtype === "F16" ? Float32Array.from(data, half) : data });
  }
  return tensors;
}

function half(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}

function plain(data) {
  const numbers = Float64Array.from(data, Number);
  if (!numbers.every(Number.isSafeInteger)) throw new Error("an integer of more than 53 bits");
  return numbers;
}
