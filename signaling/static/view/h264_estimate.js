// What the picture of this call would cost in H.264, told from the rate of the 8x8 pictures.
//
// Lines fitted by `python -m benchmarks.h264_estimate CLIP...` on 41 clips of talking people, 256x256 at 25 fps, 100
// frames each: x264 zerolatency against our face layer at 25 fps, full profile, without hints; video alone, without
// the first picture. Each clip estimated by a line through the others is off by 8.0 % (CRF 51) and 5.2 % (CRF 36) in
// the median, 19 % and 13 % at the 90th percentile.
//
// space "linear": y = a + b x; "log": ln y = a + b ln x; kb/s, for x from low to high.

export const H264 = [
  { crf: 51, name: "H.264, its floor", space: "linear", a: 3.9761, b: 4.195, low: 0.4949, high: 3.7475 },
  { crf: 36, name: "H.264, CRF 36", space: "log", a: 3.2624, b: 0.6094, low: 0.4949, high: 3.7475 },
];

/**
 * Beyond the clips' rates it claims less than it might: the value at `high` above, a share of that at `low` below.
 * @param {number} faceKbps rate of the face layer without hints, 25 pictures a second
 * @returns {{name: string, crf: number, kbps: number}[]} rates of the picture alone; empty where the rate is none
 */
export function estimate(faceKbps) {
  if (!Number.isFinite(faceKbps) || faceKbps < 0) return [];
  return H264.map(({ crf, name, space, a, b, low, high }) => {
    const x = Math.min(Math.max(faceKbps, low), high);
    const y = space === "linear" ? a + b * x : Math.exp(a + b * Math.log(x));
    return { name, crf, kbps: Math.max(y * Math.min(faceKbps / low, 1), 0) };
  });
}
