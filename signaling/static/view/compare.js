// The tab that compares Pinhole with standard codecs, from what `python -m benchmarks.bpp --compare` has left.

import { element } from "./compare_element.js";
import { compareSlider } from "./compare_slider.js";

const FOLDER = "/compare/";
const FIGURES = [
  ["kbps", "kb/s", 2],
  ["bpp", "bit/pixel", 5],
  ["bpp_with_still", "bit/pixel with the still", 5],
  ["psnr", "PSNR, dB", 1],
  ["ssim", "SSIM", 3],
  ["vmaf", "VMAF", 1],
];

const address = (file) => FOLDER + encodeURIComponent(file);

/**
 * Fill `root` with the comparison that the server has, or with a sentence that says why there is none.
 * @param {HTMLElement} root
 */
export async function showCompare(root) {
  root.classList.add("compare");
  root.replaceChildren(element("p", { class: "quiet", role: "status" }, "Loading …"));
  let compared;
  try {
    const response = await fetch(address("compare.json"), { cache: "no-cache" });
    if (response.status === 404) {
      root.replaceChildren(missing());
      return;
    }
    if (!response.ok) throw new Error(`status ${response.status}`);
    compared = await response.json();
    if (!compared.clip || !compared.rows || !compared.videos) throw new Error("compare.json is incomplete");
    root.replaceChildren(...parts(compared));
  } catch ({ message }) {
    root.replaceChildren(element("p", { role: "status" }, `The comparison cannot be shown (${message}): reload.`));
  }
}

function missing() {
  return element(
    "p", { class: "missing" }, "This server has no comparison to show: make one with ",
    element("code", {}, "python -m benchmarks.bpp --compare out/compare"), " and start ",
    element("code", {}, "signaling --compare out/compare"), ".",
  );
}

function parts({ clip, over, rows, videos, settings, machine }) {
  const seconds = clip.shown_frames / 25;
  const length = clip.shown_frames < clip.frames ? `its first ${seconds} s` : `${seconds} s`;
  const slider = compareSlider(videos, address, note(
    `${capital(clip.name)}, ${length}. Pinhole's side is drawn from 8×8 pixels, the voice and one still. ` +
    "Move the line with the pointer or the arrow keys.",
  ));
  return [
    slider && section("The same seconds, coded twice", slider),
    section("Quality against rate", picture(over)),
    section("In figures", table(rows, over), details(rows, settings, machine)),
    section("Side by side", sideBySide(), note("With the voice of the clip.")),
  ].filter(Boolean);
}

let made = 0;

function section(title, ...children) {
  const id = `compare-title-${++made}`;
  return element("section", { "aria-labelledby": id }, element("h2", { id }, title), ...children);
}

function note(text) {
  return element("p", { class: "quiet" }, text);
}

/** What is wider than a phone scrolls by itself, with the keyboard too. */
function scrolling(name, ...children) {
  return element("div", { class: "scroll", role: "region", "aria-label": name, tabindex: 0 }, ...children);
}

function picture(over) {
  const source = address("picture.png");
  const image = element("img", {
    src: source, alt: `Quality against rate of every codec, ${over}; the same figures are in the table below.`,
  });
  const link = element("a", { href: source, target: "_blank", rel: "noopener" }, image);
  return element("figure", { class: "picture" }, scrolling("Quality against rate", link));
}

function sideBySide() {
  return scrolling("Side by side", element("video", {
    class: "side-by-side", src: address("side_by_side.mp4"), controls: true, playsinline: true, preload: "metadata",
    "aria-label": "The original, what is sent, Pinhole and the lowest rates of two codecs, beside each other",
  }));
}

function table(rows, over) {
  const figures = FIGURES.filter(([key]) => rows.some((row) => key in row));
  const head = element(
    "tr", {}, element("th", { scope: "col" }, "Codec"),
    ...figures.map(([, name]) => element("th", { scope: "col", class: "number" }, name)),
  );
  const body = rows.map((row) => element(
    "tr", { class: row.codec.startsWith("ours-") ? "ours" : false },
    element("th", { scope: "row" }, row.name),
    ...figures.map(([key, , digits]) => element("td", { class: "number" }, figure(row[key], digits))),
  ));
  return scrolling("Figures", element(
    "table", {},
    element("caption", {}, element("span", {}, `${capital(over)}, 256×256 at 25 fps; rates of the video alone`)),
    element("thead", {}, head), element("tbody", {}, ...body),
  ));
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function figure(value, digits) {
  return typeof value === "number" ? value.toFixed(digits) : "–";
}

/** What is needed to measure the same again. */
function details(rows, { command, versions, metrics }, machine) {
  const { ffmpeg, ...packages } = versions;
  const listed = (of) => Object.entries(of).map(([name, version]) => `${name} ${version}`).join(", ");
  const measured = FIGURES.filter(([key]) => key in metrics && rows.some((row) => key in row));
  const terms = [
    ...rows.map(({ name, settings }) => [name, settings]),
    ...measured.map(([key, name]) => [name, metrics[key]]),
    ["Command", command],
    ["Machine", `${machine.cpu}, ${machine.cores} cores, ${machine.os}, Python ${machine.python}`],
    ["Versions", listed({ ...packages, ...ffmpeg })],
  ];
  return element(
    "details", {}, element("summary", {}, "Exact settings"),
    element("dl", {}, ...terms.flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)])),
  );
}
