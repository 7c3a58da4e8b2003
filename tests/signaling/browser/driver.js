// The coder on a pipe: one JSON request a line, one JSON answer a line. Arguments: folder of the golden vectors, file
// of the prior. Doubles come and go as hexadecimal text of their bytes, little endian, since JSON has no NaN.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import { decodeControl, encodeControl } from "./coder/control.js";
import { FaceDecoder, FaceEncoder, area8x8 } from "./coder/face.js";
import { pack, packVoiceFrame, unpack } from "./coder/packet.js";
import { FacePrior } from "./coder/prior.js";
import { RangeDecoder, RangeEncoder } from "./coder/rangecoder.js";
import { encodeStill } from "./coder/still.js";
import { checkGolden, fromHex, plain, refuses, toHex, verdict } from "./golden.js";

const [folder, weights] = process.argv.slice(2);
const file = (path) => new Uint8Array(readFileSync(path)).buffer;
const json = (name) => JSON.parse(readFileSync(`${folder}/${name}`, "utf8"));
const orNull = (value, of) => (value === null ? null : of(value));
const doubles = (hex) => new Float64Array(fromHex(hex).buffer);
const prior = FacePrior.load(file(weights));

const answers = {
  golden: () => checkGolden(prior, json("golden_face.json"), json("golden_browser.json")),
  encode({ config, steps }) {
    const encoder = new FaceEncoder(prior, config);
    return steps.map(({ picture, hints, refresh }) => {
      if (refresh) encoder.refresh();
      return toHex(encoder.encode(orNull(picture, fromHex), orNull(hints, doubles)));
    });
  },
  decode({ ticks }) {
    const decoder = new FaceDecoder(prior);
    return ticks.map((tick) => verdict(decoder, orNull(tick, fromHex)));
  },
  bits: () => toHex(new Uint8Array(prior.bits.buffer)),
  /** Symbols as [kind, value, argument]: their code, and what is read back from it. */
  symbols({ symbols }) {
    const coder = new RangeEncoder();
    for (const [kind, value, argument] of symbols) coder[`encode${kind}`](value, argument);
    const code = coder.finish();
    const decoder = new RangeDecoder(code);
    const back = symbols.map(([kind, , argument]) => decoder[`decode${kind}`](argument));
    decoder.finish();
    return { code: toHex(code), back };
  },
  packets: ({ packets }) =>
    packets.map((hex) => {
      let packet;
      if (refuses(() => (packet = unpack(fromHex(hex))))) return null;
      return { ...plain(packet), again: toHex(pack(packet)) };
    }),
  frames: ({ frames }) =>
    frames.map(({ messages, opus }) => toHex(packVoiceFrame(messages.map(fromHex), fromHex(opus)))),
  control: ({ messages }) =>
    messages.map((hex) => {
      let message;
      if (refuses(() => (message = decodeControl(fromHex(hex))))) return null;
      const again = plain(decodeControl(encodeControl(message)));
      return { message: plain(message), again };
    }),
  /** Names of the errors that each call raises. */
  wrong: () =>
    [
      () => new FaceEncoder(prior, { fps: 30 }),
      () => new FaceEncoder(prior, { profile: "toString" }),
      () => new FaceEncoder(prior, { quality: 16 }),
      () => new FaceEncoder(prior).encode(new Uint8Array(191), null),
      () => new FaceEncoder(prior).encode(null, [1, 2]),
      () => area8x8(new Uint8ClampedArray(256)),
      () => pack({ faces: [new Uint8Array(256)] }),
      () => pack({ faces: [] }),
      () => encodeStill(new Uint8Array(0), null),
      () => encodeStill(new Uint8Array(9), new Float32Array(219)),
      () => encodeStill(new Uint8Array(32768), null),
      () => encodeControl({ type: "hello", fps: 30, profile: "full", hints: true, packetMs: 40, name: "" }),
      () => encodeControl({ type: "hello", fps: 25, profile: "full", hints: true, packetMs: 40, name: "\ud800" }),
      () => encodeControl({ type: "statistics", values: { x: NaN } }),
      () => encodeControl({ type: "statistics", values: { x: 2 ** 63 } }),
      () => encodeControl({ type: "bye", reason: "line\nbreak" }),
      () => encodeControl({ type: "still", number: 1, data: new Uint8Array(32769) }),
      () => encodeControl({ type: "other" }),
    ].map((run) => {
      try {
        run();
      } catch (error) {
        return error.name;
      }
      return null;
    }),
  /** What the loader says to spoilt files of weights. */
  weights: ({ files }) =>
    files.map((hex) => {
      try {
        FacePrior.load(fromHex(hex).buffer);
      } catch (error) {
        return error.message;
      }
      return null;
    }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { ask, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: answers[ask](rest) };
  } catch (error) {
    answer = { failure: error.stack };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
