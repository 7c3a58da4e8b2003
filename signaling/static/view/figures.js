/** From a report to the figures that are shown. Pure. */

/**
 * @param {import("../call/report.js").Report} report
 * @param {Record<string, number | string> | null} statistics what the receiver tells, null while there is none
 * @param {boolean} sends whether this page sends a picture: then it counts what is sent itself
 * @param {{fps: 25 | 5, hints: boolean}} stream
 * @returns {import("./numbers.js").Figures}
 */
export function figuresOf(report, statistics, sends, stream) {
  const told = statistics ?? {};
  const number = (/** @type {string} */ key) => (typeof told[key] === "number" ? told[key] : null);
  const { lately, wayBackMs } = report;
  const own = sends && lately !== null;
  const there = number("latency_ms");
  const back = there === null ? null : wayBackMs;
  const engine = [told.backend, told.device].filter((part) => typeof part === "string" && part);
  return {
    face_kbps: own ? lately.faceKbps : sends ? null : number("face_kbps"),
    audio_kbps: own ? lately.audioKbps : sends ? null : number("audio_kbps"),
    wire_kbps: own ? lately.wireKbps : sends ? null : number("wire_kbps"),
    bpp: own ? lately.bpp : sends ? null : number("bpp"),
    latency_ms: there === null ? null : there + (back ?? 0),
    latency_parts: there === null || back === null ? "" : `${there.toFixed(0)} until drawn, ${back.toFixed(0)} back`,
    fps: number("fps") ?? lately?.shownFps ?? null,
    lost: number("lost"),
    concealed: number("concealed"),
    engine: engine.join(" on "),
    stream,
  };
}

/**
 * What the sender of the shown picture has told of its stream. @param {Record<string, number | string> | null} told
 * @returns {{fps: 25 | 5, hints: boolean}}
 */
export function streamOf(told) {
  return { fps: told?.sent_fps === 5 ? 5 : 25, hints: told?.hints !== 0 };
}
