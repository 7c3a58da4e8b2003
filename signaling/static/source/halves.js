/**
 * Tensors of a safetensors file in half precision: a u64 with the length of a JSON header, the header, the bytes.
 * (`../coder/safetensors.js` reads whole numbers and single precision.)
 */

const MAX_HEADER_BYTES = 1 << 20;

/**
 * @param {ArrayBuffer} buffer
 * @returns {Map<string, {shape: number[], data: Float32Array}>}
 * Raises Error on what is not such a file, has another type or is not finite.
 */
export function parseHalves(buffer) {
  const view = new DataView(buffer);
  const size = buffer.byteLength < 8 ? Infinity : Number(view.getBigUint64(0, true));
  if (size > Math.min(MAX_HEADER_BYTES, buffer.byteLength - 8)) throw new Error("not a safetensors file");
  const header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 8, size)));
  const tensors = new Map();
  for (const [name, { dtype, shape, data_offsets: span }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    if (dtype !== "F16") throw new Error(`${name} is of type ${dtype}, not F16`);
    const count = shape.reduce((/** @type {number} */ a, /** @type {number} */ b) => a * b, 1);
    const [start, end] = [8 + size + span[0], 8 + size + span[1]];
    if (!(span[0] >= 0 && end - start === 2 * count && end <= buffer.byteLength)) {
      throw new Error(`${name} lies outside the file`);
    }
    const data = new Float32Array(count);
    for (let k = 0; k < count; k++) data[k] = half(view.getUint16(start + 2 * k, true));
    if (!data.every(Number.isFinite)) throw new Error(`${name} is not finite`);
    tensors.set(name, { shape, data });
  }
  return tensors;
}

/** @param {number} bits of a float16 */
function half(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
}
