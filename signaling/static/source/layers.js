/**
 * Convolutions and dense layers over typed arrays, and networks of them as `_Step` in `codec_models/face_points.py`.
 *
 * Pictures lie row by row, the channels of a pixel side by side, with a border of one zero pixel: so the three pixels of
 * a kernel's row are one run of numbers. Four output channels of two neighbouring pixels are summed at once, in 64 bits.
 *
 * @typedef {{data: Float32Array, width: number, height: number, channels: number}} Plane with its border
 * @typedef {{weight: Float32Array, bias: Float32Array, kernel: number, stride: number, inputs: number,
 *   outputs: number}} Convolution weights in groups of four outputs, [outputs / 4][kernel][kernel][inputs][4]
 * @typedef {{weight: Float32Array, bias: Float32Array, inputs: number, outputs: number}} Dense
 * @typedef {Map<string, {shape: number[], data: ArrayLike<number>}>} Tensors
 */

/** @param {number} width @param {number} height @param {number} channels @returns {Plane} */
export function plane(width, height, channels) {
  return { data: new Float32Array((width + 2) * (height + 2) * channels), width, height, channels };
}

/**
 * out = input through a layer, plus added where there is one; then all below zero is zero.
 * @param {Plane} input @param {Convolution} layer @param {Plane} out @param {Plane | null} added of the shape of out
 */
export function convolve(input, layer, out, added) {
  const { data: x } = input;
  const { data: y, width, height } = out;
  const { weight, bias, kernel, stride, inputs, outputs } = layer;
  const rowStep = (input.width + 2) * inputs;
  const run = kernel * inputs;
  const edge = kernel === 3 ? 0 : rowStep + inputs;
  const outRow = (width + 2) * outputs;
  const more = added === null ? null : added.data;
  for (let group = 0; group < outputs; group += 4) {
    const [b0, b1, b2, b3] = [bias[group], bias[group + 1], bias[group + 2], bias[group + 3]];
    const first = group * kernel * run;
    for (let row = 0; row < height; row++) {
      const line = edge + row * stride * rowStep;
      let to = (row + 1) * outRow + outputs + group;
      for (let column = 0; column < width; column += 2) {
        // The last pixel of an odd row is done beside itself.
        const two = column + 1 < width;
        const from = line + column * stride * inputs;
        const apart = two ? stride * inputs : 0;
        let p0 = b0, p1 = b1, p2 = b2, p3 = b3, q0 = b0, q1 = b1, q2 = b2, q3 = b3;
        let w = first;
        for (let k = 0; k < kernel; k++) {
          const start = from + k * rowStep;
          const end = start + run;
          for (let i = start; i < end; i++) {
            const p = x[i];
            const q = x[i + apart];
            const w0 = weight[w], w1 = weight[w + 1], w2 = weight[w + 2], w3 = weight[w + 3];
            p0 += p * w0; p1 += p * w1; p2 += p * w2; p3 += p * w3;
            q0 += q * w0; q1 += q * w1; q2 += q * w2; q3 += q * w3;
            w += 4;
          }
        }
        if (more !== null) {
          p0 += more[to]; p1 += more[to + 1]; p2 += more[to + 2]; p3 += more[to + 3];
        }
        y[to] = p0 > 0 ? p0 : 0;
        y[to + 1] = p1 > 0 ? p1 : 0;
        y[to + 2] = p2 > 0 ? p2 : 0;
        y[to + 3] = p3 > 0 ? p3 : 0;
        to += outputs;
        if (two) {
          if (more !== null) {
            q0 += more[to]; q1 += more[to + 1]; q2 += more[to + 2]; q3 += more[to + 3];
          }
          y[to] = q0 > 0 ? q0 : 0;
          y[to + 1] = q1 > 0 ? q1 : 0;
          y[to + 2] = q2 > 0 ? q2 : 0;
          y[to + 3] = q3 > 0 ? q3 : 0;
          to += outputs;
        }
      }
    }
  }
}

/** @param {Float32Array} x @param {Dense} layer @param {Float32Array} out @param {boolean} positive cut off below zero */
export function connect(x, { weight, bias, inputs, outputs }, out, positive) {
  for (let k = 0, w = 0; k < outputs; k++) {
    let [sum, other] = [bias[k], 0];
    let i = 0;
    for (; i + 1 < inputs; i += 2, w += 2) {
      sum += x[i] * weight[w];
      other += x[i + 1] * weight[w + 1];
    }
    if (i < inputs) sum += x[i] * weight[w++];
    sum += other;
    out[k] = positive && sum < 0 ? 0 : sum;
  }
}

/**
 * @typedef {{width: number, height: number, channels: number[], blocks: number[], squeezed: number, dense: number,
 *   outputs: number, extra: number, stride: number}} Shape
 */

/** Convolutions, then two dense layers. `input` is filled by the caller, `told` holds the answer. */
export class Step {
  /**
   * @param {Tensors} tensors @param {string} name @param {Shape} shape
   * Raises Error where a tensor is missing or of another shape; takes those it uses out of tensors.
   */
  constructor(tensors, name, shape) {
    let { width, height } = shape;
    let inputs = 3;
    let index = 0;
    this.input = plane(width, height, 3);
    /** @type {[Plane, Convolution, Plane, Plane | null][]} */
    this._layers = [];
    let now = this.input;
    const layer = (/** @type {string} */ at, /** @type {number[]} */ size, /** @type {number} */ stride, added = null) => {
      const [outputs, from, kernel] = size;
      if (stride === 2) [width, height] = [(width + 1) >> 1, (height + 1) >> 1];
      const out = plane(width, height, outputs);
      this._layers.push([now, convolution(tensors, `${name}.see.${at}`, outputs, from, kernel, stride), out, added]);
      now = out;
    };
    shape.channels.forEach((outputs, k) => {
      layer(String(index), [outputs, inputs, 3], k === 0 ? shape.stride : 2);
      index += 2;
      inputs = outputs;
      if (shape.blocks.includes(k)) {
        const before = now;
        layer(`${index}.a`, [outputs, outputs, 3], 1);
        layer(`${index}.b`, [outputs, outputs, 3], 1, before);
        index += 1;
      }
    });
    layer(String(index), [shape.squeezed, inputs, 1], 1);
    this._seen = now;
    const flat = width * height * shape.squeezed;
    this._flat = new Float32Array(flat + shape.extra);
    this._think = dense(tensors, `${name}.think`, shape.dense, flat + shape.extra, width * height, shape.squeezed);
    this._tell = dense(tensors, `${name}.tell`, shape.outputs, shape.dense, 1, 0);
    this._thought = new Float32Array(shape.dense);
    this.told = new Float32Array(shape.outputs);
  }

  /** What the dense layers see beside the picture. */
  get extra() {
    return this._flat.subarray(this._seen.width * this._seen.height * this._seen.channels);
  }

  run() {
    for (const [input, layer, out, added] of this._layers) convolve(input, layer, out, added);
    const { data, width, height, channels } = this._seen;
    for (let row = 0; row < height; row++) {
      const start = ((row + 1) * (width + 2) + 1) * channels;
      this._flat.set(data.subarray(start, start + width * channels), row * width * channels);
    }
    connect(this._flat, this._think, this._thought, true);
    connect(this._thought, this._tell, this.told, false);
  }
}

/**
 * @param {Tensors} tensors @param {string} name @param {number[]} shape
 * @returns {ArrayLike<number>}
 */
function taken(tensors, name, shape) {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`the weights lack ${name}`);
  if (tensor.shape.join() !== shape.join()) throw new Error(`${name} is [${tensor.shape}], not [${shape}]`);
  tensors.delete(name);
  return tensor.data;
}

/**
 * @param {Tensors} tensors @param {string} name @param {number} outputs @param {number} inputs @param {number} kernel
 * @param {number} stride
 * @returns {Convolution}
 */
function convolution(tensors, name, outputs, inputs, kernel, stride) {
  const stored = taken(tensors, `${name}.weight`, [outputs, inputs, kernel, kernel]);
  const weight = new Float32Array(stored.length);
  const area = kernel * kernel;
  for (let m = 0, at = 0; m < outputs; m++) {
    for (let c = 0; c < inputs; c++) {
      for (let k = 0; k < area; k++) weight[(((m >> 2) * area + k) * inputs + c) * 4 + (m & 3)] = stored[at++];
    }
  }
  const bias = Float32Array.from(taken(tensors, `${name}.bias`, [outputs]));
  return { weight, bias, kernel, stride, inputs, outputs };
}

/**
 * @param {Tensors} tensors @param {string} name @param {number} outputs @param {number} inputs
 * @param {number} pixels the first inputs are a picture of so many pixels and channels, stored channel by channel
 * @param {number} channels
 * @returns {Dense}
 */
function dense(tensors, name, outputs, inputs, pixels, channels) {
  const stored = taken(tensors, `${name}.weight`, [outputs, inputs]);
  const weight = new Float32Array(stored.length);
  for (let m = 0; m < outputs; m++) {
    for (let k = 0; k < inputs; k++) {
      const to = k < pixels * channels ? (k % pixels) * channels + Math.floor(k / pixels) : k;
      weight[m * inputs + to] = stored[m * inputs + k];
    }
  }
  return { weight, bias: Float32Array.from(taken(tensors, `${name}.bias`, [outputs])), inputs, outputs };
}
