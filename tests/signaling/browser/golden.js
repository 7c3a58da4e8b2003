// Checks the golden vectors with the page's own coder. Runs in Node and in browsers.

import { decodeControl, encodeControl } from "./coder/control.js";
import { BitstreamError, FaceDecoder, FaceEncoder, area8x8 } from "./coder/face.js";
import { pack, packTick, unpack, unpackShown, unpackTick } from "./coder/packet.js";
import { encodeStill } from "./coder/still.js";

export const fromHex = (hex) =>
  Uint8Array.from({ length: hex.length / 2 }, (_, k) => parseInt(hex.slice(2 * k, 2 * k + 2), 16));
export const toHex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const orNull = (value, of) => (value === null ? null : of(value));

/** A decoder's answer as the vectors hold it. */
export function decoded(tick, decoder) {
  return {
    picture: orNull(tick.picture, toHex),
    hints: orNull(tick.hints, (hints) => Array.from(hints)),
    clean: tick.clean,
    needsRefresh: decoder.needsRefresh,
  };
}

/** The same of bytes (null: lost), or null where the decoder raises its error. Any other error is passed on. */
export function verdict(decoder, bytes) {
  try {
    return decoded(bytes === null ? decoder.lost() : decoder.decode(bytes), decoder);
  } catch (error) {
    if (error instanceof BitstreamError) return null;
    throw error;
  }
}

/** Whether the function raises BitstreamError; any other error is passed on. */
export function refuses(run) {
  try {
    run();
  } catch (error) {
    if (error instanceof BitstreamError) return true;
    throw error;
  }
  return false;
}

/** A value with its byte arrays as hexadecimal text. */
export function plain(value) {
  if (value instanceof Uint8Array) return toHex(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

/** JSON with the keys in order. */
const canon = (value) =>
  JSON.stringify(value, (_, v) =>
    v !== null && typeof v === "object" && !Array.isArray(v)
      ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
      : v,
  );

/** @returns {{checks: number, failures: string[]}} */
export function checkGolden(prior, face, browser) {
  const result = { checks: 0, failures: [] };
  const same = (what, got, expected) => {
    result.checks += 1;
    const [a, b] = [canon(got), canon(expected)];
    if (a !== b) result.failures.push(`${what}: ${a} is not ${b}`);
  };
  for (const [name, { ticks, pictures, hints }] of Object.entries(face)) {
    const decoder = new FaceDecoder(prior);
    ticks.forEach((tick, t) => {
      const expected = { picture: pictures[t], hints: hints[t], clean: true, needsRefresh: false };
      same(`golden_face ${name} ${t}`, verdict(decoder, fromHex(tick)), expected);
    });
  }
  for (const [name, { config, steps }] of Object.entries(browser.faces)) {
    const encoder = new FaceEncoder(prior, config);
    const decoder = new FaceDecoder(prior);
    steps.forEach((step, t) => {
      if (step.refresh) encoder.refresh();
      same(`${name} ${t} encoded`, toHex(encoder.encode(orNull(step.picture, fromHex), step.hints)), step.bytes);
      same(`${name} ${t} decoded`, verdict(decoder, step.lost ? null : fromHex(step.bytes)), step.decoded);
    });
  }
  const decoder = new FaceDecoder(prior);
  browser.garbage.forEach((row, k) => same(`garbage ${k}`, verdict(decoder, fromHex(row.bytes)), row.decoded));
  for (const { wire, ...packet } of browser.packets) {
    const lists = ["faces", "opus", "redundant"].map((key) => [key, packet[key].map(fromHex)]);
    same("packet", toHex(pack({ ...packet, ...Object.fromEntries(lists) })), wire);
    same("packet", plain(unpack(fromHex(wire))), packet);
  }
  for (const wire of browser.badPackets) same(`packet ${wire}`, refuses(() => unpack(fromHex(wire))), true);
  for (const { tick, wire } of browser.tickMessages) {
    const message = unpackTick(fromHex(wire));
    same("tick", message.tick, tick);
    same("tick", toHex(packTick(tick, message.packet)), wire);
    const picture = "7f".repeat(192);
    same("shown", plain(unpackShown(fromHex(wire.slice(0, 8) + picture))), { tick, picture });
  }
  for (const wire of ["", "000000", "00000000", "0000000080"]) {
    same(`tick ${wire}`, refuses(() => unpackTick(fromHex(wire))), true);
    same(`shown ${wire}`, refuses(() => unpackShown(fromHex(wire))), true);
  }
  for (const { message, wire } of browser.control) {
    const data = message.data === undefined ? {} : { data: fromHex(message.data) };
    same("control", toHex(encodeControl({ ...message, ...data })), wire);
  }
  for (const { message, wire } of [...browser.control, ...browser.goodControl]) {
    same("control", plain(decodeControl(fromHex(wire))), message);
  }
  for (const wire of browser.badControl) same(`control ${wire}`, refuses(() => decodeControl(fromHex(wire))), true);
  for (const { points, picture, wire } of browser.stills) {
    same("still", toHex(encodeStill(fromHex(picture), orNull(points, (p) => Float32Array.from(p)))), wire);
  }
  const rgba = Uint8ClampedArray.from({ length: 4 * 256 * 256 }, (_, k) => {
    const [c, x, y] = [k % 4, (k >> 2) % 256, k >> 10];
    return c === 3 ? 255 : (7 * x + 13 * y + 50 * c + ((x * y) >> 5)) & 255;
  });
  same("area", toHex(area8x8(rgba)), browser.area);
  return result;
}
