/**
 * The call's figures, once a second. What this page sends is counted here, what is shown is told by the receiver; who
 * only watches is told both.
 */
import { estimate } from "./h264_estimate.js";
import { Sparkline } from "./sparkline.js";

/** Face rates of the README's table: what hints add at 25 and 5 fps, and 25 fps over 5 fps without them. */
const HINT_KBPS = { 25: 0.25, 5: 0.32 };
const FAST_OVER_SLOW = 1.92;

/**
 * @typedef {object} Figures all null where not known
 * @property {number | null} face_kbps @property {number | null} audio_kbps @property {number | null} wire_kbps
 * @property {number | null} bpp @property {number | null} latency_ms @property {string} latency_parts
 * @property {number | null} lost @property {number | null} concealed @property {number | null} fps
 * @property {string} engine @property {{fps: 25 | 5, hints: boolean}} stream
 */

/** id, name, unit, digits; numbers with a line over the last minute. */
const SENT = /** @type {const} */ ([
  ["face_kbps", "Face", "kb/s", 2],
  ["audio_kbps", "Voice", "kb/s", 1],
  ["wire_kbps", "On the wire", "kb/s", 1],
  ["bpp", "Face, per pixel", "bit", 5],
]);
const SHOWN = /** @type {const} */ ([
  ["latency_ms", "Latency", "ms", 0],
  ["fps", "Pictures shown", "a second", 1],
  ["lost", "Ticks lost", "", 0],
  ["concealed", "Ticks concealed", "", 0],
]);

export class Numbers {
  /** @param {HTMLElement} root */
  constructor(root) {
    /** @type {Map<string, {text: HTMLElement, digits: number, line: Sparkline}>} */
    this._rows = new Map();
    this._sentTitle = heading("What is sent");
    this._shownTitle = heading("What is shown");
    const sent = element("dl", "figures");
    sent.append(...SENT.map(([id, name, unit, digits]) => this._row(id, name, unit, digits)));
    const shown = element("dl", "figures");
    shown.append(...SHOWN.map(([id, name, unit, digits]) => this._row(id, name, unit, digits)));
    this._parts = element("small", "", "latency_parts");
    shown.firstElementChild?.append(this._parts);
    const engine = element("div", "wide");
    this._engine = element("b", "", "engine");
    this._engine.textContent = "–";
    engine.append(withText("dt", "Drawn by"), wrap("dd", this._engine));
    shown.append(engine);
    this._bars = element("ul", "bars", "h264");
    this._bars.setAttribute("aria-label", "Rate of the picture, ours and H.264");
    const note = element("p", "quiet");
    note.textContent = "H.264 is an estimate for the same picture, without sound and headers.";
    root.append(this._sentTitle, sent, this._shownTitle, shown, heading("The same picture in H.264"), this._bars, note);
  }

  /** @param {boolean} own whether what is sent is this page's */
  setOwn(own) {
    this._sentTitle.textContent = own ? "What you send" : "What is sent";
    this._shownTitle.textContent = own ? "What you see" : "What is shown";
  }

  /** Once a second. @param {Figures} figures */
  update(figures) {
    for (const [id, { text, digits, line }] of this._rows) {
      const value = figures[/** @type {"lost"} */ (id)];
      text.textContent = value === null ? "–" : value.toFixed(digits);
      line.add(value);
    }
    this._parts.textContent = figures.latency_parts;
    this._engine.textContent = figures.engine || "–";
    this._drawBars(figures);
  }

  /** @param {Figures} figures */
  _drawBars({ face_kbps: face, stream }) {
    const rates = face === null || face <= 0 ? [] : estimate(plainRate(face, stream));
    const ours = face === null ? [] : [{ name: "Ours", kbps: face, ours: true }];
    const rows = [...ours, ...rates.map((rate) => ({ ...rate, ours: false }))];
    const largest = Math.max(1e-9, ...rows.map((row) => row.kbps));
    while (this._bars.children.length > rows.length) this._bars.lastElementChild?.remove();
    rows.forEach((row, k) => {
      const bar = this._bars.children[k] ?? this._bars.appendChild(makeBar());
      bar.classList.toggle("ours", row.ours);
      const [label, track, value] = bar.children;
      label.textContent = row.name;
      /** @type {HTMLElement} */ (track.firstElementChild).style.width = `${((100 * row.kbps) / largest).toFixed(1)}%`;
      value.textContent = `${row.ours ? "" : "≈ "}${row.kbps.toFixed(1)} kb/s`;
    });
  }

  /** @param {string} id @param {string} name @param {string} unit @param {number} digits */
  _row(id, name, unit, digits) {
    const text = element("b", "", id);
    text.textContent = "–";
    const line = new Sparkline();
    const value = wrap("dd", text, unit ? ` ${unit}` : "");
    const row = element("div", "");
    row.append(withText("dt", name), value, line.element);
    this._rows.set(id, { text, digits, line });
    return row;
  }
}

/** The rate that the face layer would have at 25 pictures a second without hints, as the estimate wants it. */
export function plainRate(/** @type {number} */ face, /** @type {{fps: 25 | 5, hints: boolean}} */ { fps, hints }) {
  const bare = Math.max(0, face - (hints ? HINT_KBPS[fps] : 0));
  return fps === 5 ? FAST_OVER_SLOW * bare : bare;
}

function makeBar() {
  const bar = document.createElement("li");
  const track = element("span", "track");
  track.append(element("span", "fill"));
  bar.append(element("span", ""), track, element("span", "value"));
  return bar;
}

/** @param {string} text */
function heading(text) {
  return withText("h3", text);
}

/** @param {string} tag @param {string} className @param {string} [id] */
function element(tag, className, id = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (id) made.id = id;
  return made;
}

/** @param {string} tag @param {string} text */
function withText(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** @param {string} tag @param {(Node | string)[]} children */
function wrap(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}
