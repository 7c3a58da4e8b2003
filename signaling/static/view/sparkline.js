/** The last minute of a figure as a line. Decoration: the figure itself is text beside it. */

const SVG = "http://www.w3.org/2000/svg";
const POINTS = 60;
const WIDTH = 100;
const HEIGHT = 20;

export class Sparkline {
  constructor() {
    this.element = document.createElementNS(SVG, "svg");
    this.element.setAttribute("class", "spark");
    this.element.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.element.setAttribute("preserveAspectRatio", "none");
    this.element.setAttribute("aria-hidden", "true");
    this._line = document.createElementNS(SVG, "polyline");
    this.element.append(this._line);
    /** @type {(number | null)[]} */
    this._values = [];
  }

  /** The next second's figure. @param {number | null} value null: not known */
  add(value) {
    this._values.push(value);
    if (this._values.length > POINTS) this._values.shift();
    this._line.setAttribute("points", points(this._values));
  }
}

/** From nothing to the largest value, the newest at the right. @param {(number | null)[]} values */
export function points(values) {
  const x = (/** @type {number} */ k) => ((WIDTH * k) / (POINTS - 1)).toFixed(1);
  const y = (/** @type {number} */ v) => (HEIGHT - 1 - ((HEIGHT - 2) * v) / largest).toFixed(1);
  const largest = Math.max(1e-9, ...values.map((v) => v ?? 0));
  return values
    .map((v, k) => (v === null ? null : [k + POINTS - values.length, Math.max(0, v)]))
    .filter((point) => point !== null)
    .map(([k, v]) => `${x(k)},${y(v)}`)
    .join(" ");
}
