// Two videos of the same seconds over each other and a line between them that can be moved.

import { element } from "./compare_element.js";
import { VideoPair } from "./video_pair.js";

/**
 * @typedef {{codec: string, name: string, kbps: number | null, psnr: number | null, still_bytes: number | null,
 *   file: string}} Shown
 */

const STARTS = ["h264-floor", "h264-zerolatency-crf44", "original"];

/**
 * @param {Shown[]} videos as in compare.json
 * @param {(file: string) => string} address of a file
 * @param {HTMLElement} note stands below the controls
 * @returns {HTMLElement | null} null where there are not two sides
 */
export function compareSlider(videos, address, note) {
  const ours = videos.filter(({ codec }) => codec.startsWith("ours-"));
  const others = videos.filter((video) => !ours.includes(video)).sort(byRate);
  if (!ours.length || !others.length) return null;
  const first = STARTS.map((codec) => others.find((v) => v.codec === codec)).find(Boolean) ?? others[0];

  const left = video("left");
  const right = video("right");
  const line = element("div", { class: "line", "aria-hidden": "true" });
  const range = element("input", {
    type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": "Divider between the two pictures",
  });
  const stage = element("div", { class: "stage" }, right, left, range, line);
  const play = element("button", { type: "button", class: "play" }, "Play");
  const trouble = element("p", { role: "status", class: "trouble" });
  const labels = [label("left"), label("right")];
  const selects = [select("Left", ours, ours[0]), select("Right", others, first)];
  const pair = new VideoPair(left, right, {
    playing: (on) => { play.textContent = on ? "Pause" : "Play"; },
    failed: (why) => { trouble.textContent = why; },
  });

  function moved() {
    const share = Number(range.value);
    stage.style.setProperty("--share", `${share}%`);
    const names = selects.map(({ input }) => input.selectedOptions[0].textContent);
    range.setAttribute("aria-valuetext", `${share} % ${names[0]}, ${100 - share} % ${names[1]}`);
  }

  async function chosen(side) {
    const shown = (side ? others : ours).find(({ codec }) => codec === selects[side].input.value);
    describe(labels[side], shown);
    moved();
    trouble.textContent = "";
    await pair.show(side, address(shown.file));
  }

  range.addEventListener("input", moved);
  play.addEventListener("click", () => pair.toggle());
  selects.forEach(({ input }, side) => input.addEventListener("change", () => chosen(side)));
  const ready = Promise.all([chosen(0), chosen(1)]);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) ready.then(() => pair.play());

  return element(
    "div", { class: "wipe" },
    element("div", { class: "seen" }, stage, element("div", { class: "labels" }, ...labels)),
    element("div", { class: "controls" }, ...selects.map(({ whole }) => whole), play, trouble, note),
  );
}

function video(side) {
  const made = element("video", { class: side, playsinline: true, width: 256, height: 256, "aria-hidden": "true" });
  made.muted = true;
  return made;
}

/** The original last: it is not coded at all. */
function byRate(one, other) {
  return (one.kbps ?? Infinity) - (other.kbps ?? Infinity);
}

let made = 0;

function select(text, videos, first) {
  const id = `compare-${text.toLowerCase()}-${++made}`;
  const input = element("select", { id }, ...videos.map(({ codec, name, kbps }) =>
    element("option", { value: codec, selected: codec === first.codec },
      kbps === null ? name : `${name} · ${rate(kbps)}`)));
  return { input, whole: element("div", { class: "pick" }, element("label", { for: id }, text), input) };
}

function label(side) {
  return element("p", { class: `label ${side}` });
}

/** @param {HTMLElement} into @param {Shown} shown */
function describe(into, { name, kbps, psnr, still_bytes: still }) {
  const parts = kbps === null ? ["not coded"] : [rate(kbps)];
  if (still) parts.push(`+ one ${(still / 1000).toFixed(1)} kB still`);
  if (psnr !== null) parts.push(`PSNR ${psnr.toFixed(1)} dB`);
  into.replaceChildren(element("b", {}, name), ...parts.map((part) => element("span", {}, part)));
}

function rate(kbps) {
  return `${kbps.toFixed(kbps < 10 ? 2 : 1)} kb/s`;
}
