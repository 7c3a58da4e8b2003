/**
 * The crop square over the preview: dragged and zoomed by pointer, wheel, pinch and keys.
 */

const STEP = 0.02; // of the square's side, by an arrow key; with shift five times as far
const ZOOM = 1.05;

export class Square {
  /**
   * @param {HTMLElement} element over the video, in the same positioned box
   * @param {import("./source.js").Source} source
   * @param {import("./crop.js").Crop} crop
   * @param {() => void} onHand a hand has moved it
   */
  constructor(element, source, crop, onHand) {
    this._element = element;
    this._source = source;
    this._crop = crop;
    this._onHand = onHand;
    /** @type {Map<number, {x: number, y: number}>} */
    this._pointers = new Map();
    this._drawn = "";
    element.addEventListener("pointerdown", (event) => this._down(event));
    element.addEventListener("pointermove", (event) => this._move(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      element.addEventListener(name, (event) => this._up(/** @type {PointerEvent} */ (event)));
    }
    element.addEventListener("wheel", (event) => this._wheel(event), { passive: false });
    element.addEventListener("keydown", (event) => this._key(event));
    if (typeof ResizeObserver === "function") {
      new ResizeObserver(() => this.draw()).observe(/** @type {Element} */ (element.parentElement));
    }
  }

  /** Put the square where the crop is. */
  draw() {
    const { videoWidth, videoHeight, offsetLeft, offsetTop, clientWidth, clientHeight } = this._source.video;
    const shown = videoWidth > 0 && this._scale > 0;
    if (this._element.hidden === shown) this._element.hidden = !shown;
    if (!shown) return;
    this._crop.setSource(videoWidth, videoHeight);
    const { left, top, side } = this._crop.box;
    const scale = this._scale;
    const x = offsetLeft + (clientWidth - videoWidth * scale) / 2 + left * scale;
    const y = offsetTop + (clientHeight - videoHeight * scale) / 2 + top * scale;
    const drawn = [x, y, side * scale].map((v) => v.toFixed(1)).join(" ");
    if (drawn === this._drawn) return;
    this._drawn = drawn;
    const { style } = this._element;
    style.left = `${x}px`;
    style.top = `${y}px`;
    style.width = style.height = `${side * scale}px`;
  }

  /** Pixels of the page for one of the source. */
  get _scale() {
    const { videoWidth, videoHeight, clientWidth, clientHeight } = this._source.video;
    return videoWidth ? Math.min(clientWidth / videoWidth, clientHeight / videoHeight) : 0;
  }

  _changed() {
    this._onHand();
    this.draw();
  }

  /** @param {PointerEvent} event */
  _down(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this._element.focus({ preventScroll: true });
    this._element.setPointerCapture(event.pointerId);
    this._pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this._element.classList.add("dragged");
  }

  /** @param {PointerEvent} event */
  _move(event) {
    const before = this._pointers.get(event.pointerId);
    if (!before || !this._scale) return;
    const now = { x: event.clientX, y: event.clientY };
    const others = [...this._pointers].filter(([id]) => id !== event.pointerId);
    this._pointers.set(event.pointerId, now);
    if (others.length) {
      const other = others[0][1];
      const was = Math.hypot(before.x - other.x, before.y - other.y);
      const is = Math.hypot(now.x - other.x, now.y - other.y);
      if (was > 8 && is > 8) this._crop.zoom(is / was);
    }
    // Each of two fingers carries half.
    const share = this._scale * (others.length ? 2 : 1);
    this._crop.move((now.x - before.x) / share, (now.y - before.y) / share);
    this._changed();
  }

  /** @param {PointerEvent} event */
  _up(event) {
    this._pointers.delete(event.pointerId);
    if (!this._pointers.size) this._element.classList.remove("dragged");
  }

  /** @param {WheelEvent} event */
  _wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
    this._crop.zoom(Math.exp(Math.max(-60, Math.min(60, lines)) * 0.002));
    this._changed();
  }

  /** @param {KeyboardEvent} event */
  _key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = this._crop.box.side * STEP * (event.shiftKey ? 5 : 1);
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (move) this._crop.move(move[0] * step, move[1] * step);
    else if (event.key === "+" || event.key === "=") this._crop.zoom(ZOOM);
    else if (event.key === "-" || event.key === "_") this._crop.zoom(1 / ZOOM);
    else return;
    event.preventDefault();
    this._changed();
  }
}
