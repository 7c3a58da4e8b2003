// RGB to the planes that the face layer codes, in integers, as codec_models/bitstream/colour.py: luma and the two
// colour differences of ITU-R BT.601, full range, luma less 128, in sixteenths of a level. All products fit 32 bits.

/** One level is 16 units. */
export const UNIT = 16;

/** RGB (192 bytes, pixel by pixel) -> planes (192,), luma then Cb then Cr, row by row, in sixteenths. */
export function toPlanes(picture, planes) {
  for (let k = 0; k < 64; k++) {
    const r = picture[3 * k];
    const g = picture[3 * k + 1];
    const b = picture[3 * k + 2];
    planes[k] = (((19595 * r + 38470 * g + 7471 * b) * UNIT + 32768) >> 16) - 128 * UNIT;
    planes[64 + k] = ((-11059 * r - 21709 * g + 32768 * b) * UNIT + 32768) >> 16;
    planes[128 + k] = ((32768 * r - 27439 * g - 5329 * b) * UNIT + 32768) >> 16;
  }
  return planes;
}

/** Planes (192,) in sixteenths, at most 2^14 in size -> RGB (192 bytes), clipped. */
export function toPicture(planes) {
  const picture = new Uint8ClampedArray(192);
  for (let k = 0; k < 64; k++) {
    const y = 16384 * (planes[k] + 128 * UNIT) + (1 << 17);
    const blue = planes[64 + k];
    const red = planes[128 + k];
    picture[3 * k] = (y + 22970 * red) >> 18;
    picture[3 * k + 1] = (y - 5638 * blue - 11700 * red) >> 18;
    picture[3 * k + 2] = (y + 29032 * blue) >> 18;
  }
  return new Uint8Array(picture.buffer);
}
