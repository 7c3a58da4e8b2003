// The identity layer: one sharp 256x256 picture with its landmarks. Format: codec_models/bitstream/still.py.

const VERSION = 1;
export const POINTS = 110;
/** What a page gives a still, head included: more than the native sender, as WebP needs more than AVIF. */
export const MAX_BYTES = 5000;
const MAX_STILL_BYTES = 32768;
const POINT_BYTES = (POINTS * 2 * 12) / 8;

/** Bytes that the head takes of a still: version, number of landmarks, landmarks. */
export function headBytes(points) {
  return points === null ? 2 : 2 + POINT_BYTES;
}

/**
 * @param {Uint8Array} picture a complete WebP, JPEG or AVIF file of 256x256 pixels
 * @param {Float32Array | null} points (220,) x, y by turns, in fractions of the picture's side, or null without a face
 * @returns {Uint8Array} the still. Raises RangeError where it would be too long or the landmarks are not 110.
 */
export function encodeStill(picture, points) {
  if (points !== null && points.length !== 2 * POINTS) throw new RangeError(`${points.length} coordinates, not 220`);
  const start = headBytes(points);
  if (picture.length === 0 || start + picture.length > MAX_STILL_BYTES) {
    throw new RangeError(`a still of ${start + picture.length} bytes`);
  }
  const still = new Uint8Array(start + picture.length);
  still[0] = VERSION;
  still[1] = points === null ? 0 : POINTS;
  if (points !== null) {
    for (let k = 0; k < POINTS; k++) {
      const x = coordinate(points[2 * k]);
      const y = coordinate(points[2 * k + 1]);
      still.set([x >> 4, ((x & 15) << 4) | (y >> 8), y & 255], 2 + 3 * k);
    }
  }
  still.set(picture, start);
  return still;
}

/** A coordinate in 12 bits: in single precision, half to even, as the Python encoder computes it. */
function coordinate(value) {
  const exact = Math.fround(Math.fround(Number.isNaN(value) ? 0 : value) + 0.5) * 2048;
  const down = Math.floor(exact);
  const up = exact - down > 0.5 || (exact - down === 0.5 && down % 2 !== 0);
  return Math.min(Math.max(up ? down + 1 : down, 0), 4095);
}
