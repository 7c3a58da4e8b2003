/** An 8x8 picture on a canvas of 8x8, which the style enlarges crisply. */
export class Pixels {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    const context = canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("no canvas");
    this._context = context;
    this._image = context.createImageData(8, 8);
    this._image.data.fill(255);
  }

  /** @param {Uint8Array} rgb 192 bytes, row by row */
  draw(rgb) {
    const { data } = this._image;
    for (let k = 0; k < 64; k++) {
      data[4 * k] = rgb[3 * k];
      data[4 * k + 1] = rgb[3 * k + 1];
      data[4 * k + 2] = rgb[3 * k + 2];
    }
    this._context.putImageData(this._image, 0, 0);
  }

  clear() {
    this._context.fillStyle = "#08090c";
    this._context.fillRect(0, 0, 8, 8);
  }
}
