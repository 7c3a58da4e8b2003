// Messages of the reliable data channel "control". Format: signaling/control.py.

import { BitstreamError } from "./errors.js";

const VERSION = 1;
const MAX_STILL_BYTES = 32768;
const MAX_NAME_BYTES = 128;
const MAX_STATISTICS_BYTES = 512;
const MAX_STATISTICS_KEYS = 32;
const MAX_REASON_BYTES = 200;
const MAX_MESSAGE_BYTES = 3 + MAX_STILL_BYTES;
/** Type numbers of the messages, from 1. */
const TYPES = [undefined, "still", "needStill", "refresh", "hello", "statistics", "bye"];
/** Pictures a second; 0: the camera is off. */
const FPS = [0, 5, 25];
const PROFILES = ["full", "lean"];
const PACKET_MS = [40, 80];
const INT_LIMIT = 2n ** 63n;

/**
 * @typedef {{type: "still", number: number, data: Uint8Array}
 *   | {type: "needStill"}
 *   | {type: "refresh"}
 *   | {type: "hello", fps: 0 | 5 | 25, profile: "full" | "lean", hints: boolean, packetMs: 40 | 80, name: string}
 *   | {type: "statistics", values: Record<string, number | string>}
 *   | {type: "bye", reason: string}} ControlMessage
 */

/**
 * Serialise a message. Raises RangeError where a field is out of the format's range.
 * @param {ControlMessage} message
 * @returns {Uint8Array}
 */
export function encodeControl(message) {
  const [fields, rest] = partsOf(message);
  const data = new Uint8Array(1 + fields.length + rest.length);
  data[0] = (VERSION << 4) | TYPES.indexOf(message.type);
  data.set(fields, 1);
  data.set(rest, 1 + fields.length);
  try {
    decodeControl(data);
  } catch (error) {
    throw error instanceof BitstreamError ? new RangeError(`${message.type}: ${error.message}`) : error;
  }
  return data;
}

/** Bytes of the message's fixed fields, and what follows them to its end. */
function partsOf(message) {
  switch (message.type) {
    case "still":
      return [[(message.number >> 8) & 255, message.number & 255], message.data];
    case "needStill":
    case "refresh":
      return [[], []];
    case "hello": {
      const { fps, profile, hints, packetMs, name } = message;
      if (!FPS.includes(fps) || !PROFILES.includes(profile) || !PACKET_MS.includes(packetMs)) {
        throw new RangeError(`a hello with fps ${fps}, profile ${profile} and packets of ${packetMs} ms`);
      }
      return [[fps, PROFILES.indexOf(profile), hints ? 1 : 0, packetMs], utf8(name)];
    }
    case "statistics":
      return [[], utf8(JSON.stringify(message.values))];
    case "bye":
      return [[], utf8(message.reason)];
    default:
      throw new RangeError(`unknown control message type ${message.type}`);
  }
}

/**
 * Parse one data channel message. Raises BitstreamError on what `encodeControl` would not have written.
 * @param {Uint8Array} data
 * @returns {ControlMessage}
 */
export function decodeControl(data) {
  if (data.length < 1 || data.length > MAX_MESSAGE_BYTES) {
    throw new BitstreamError(`a control message of ${data.length} bytes`);
  }
  if (data[0] >> 4 !== VERSION) {
    throw new BitstreamError(`control message version ${data[0] >> 4}, this program speaks ${VERSION}`);
  }
  const type = TYPES[data[0] & 15];
  const body = data.subarray(1);
  switch (type) {
    case "still":
      if (body.length < 3) throw new BitstreamError("a still without data");
      return { type, number: body[0] * 256 + body[1], data: body.slice(2) };
    case "needStill":
    case "refresh":
      if (body.length) throw new BitstreamError("a request with bytes after its end");
      return { type };
    case "hello":
      return { type, ...helloOf(body) };
    case "statistics":
      return { type, values: statisticsOf(body) };
    case "bye":
      return { type, reason: textOf(body, MAX_REASON_BYTES) };
    default:
      throw new BitstreamError(`unknown control message type ${data[0] & 15}`);
  }
}

/** As Python's str.isprintable, up to characters that are newer than either side's Unicode tables. */
function printable(text) {
  return !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", ""));
}

function utf8(text) {
  // Half a surrogate pair would silently become another character.
  if (/\p{Cs}/u.test(text)) throw new RangeError("a text that is not Unicode");
  return new TextEncoder().encode(text);
}

function textOf(data, limit) {
  if (data.length > limit) {
    throw new BitstreamError(`a text of ${data.length} bytes, at most ${limit} are allowed`);
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    throw new BitstreamError("a text that is not UTF-8");
  }
  if (!printable(text)) throw new BitstreamError("a text with characters that cannot be printed");
  return text;
}

function helloOf(body) {
  if (body.length < 4) throw new BitstreamError("a Hello that is cut short");
  const [fps, profile, hints, packetMs] = body;
  if (!FPS.includes(fps) || profile >= PROFILES.length || hints > 1 || !PACKET_MS.includes(packetMs)) {
    throw new BitstreamError("a Hello with a value out of range");
  }
  const name = textOf(body.subarray(4), MAX_NAME_BYTES);
  return { fps, profile: PROFILES[profile], hints: hints === 1, packetMs, name };
}

function statisticsOf(body) {
  const text = textOf(body, MAX_STATISTICS_BYTES);
  let values;
  try {
    values = JSON.parse(text);
  } catch {
    throw new BitstreamError("statistics that are not JSON");
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new BitstreamError("statistics that are not an object");
  }
  const entries = Object.entries(values);
  if (entries.length > MAX_STATISTICS_KEYS) {
    throw new BitstreamError(`statistics of more than ${MAX_STATISTICS_KEYS} keys`);
  }
  for (const [key, value] of entries) {
    if (!printable(key) || (typeof value === "string" ? !printable(value) : typeof value !== "number")) {
      throw new BitstreamError("statistics hold only numbers and printable texts");
    }
    if (typeof value === "number" && !Number.isFinite(value)) {
      throw new BitstreamError("statistics with a number that is not finite");
    }
  }
  // Python tells whole numbers from others by how they are written, and takes whole ones of 64 bits only.
  for (const [number] of text.replace(/"(?:[^"\\]|\\.)*"/g, "").matchAll(/-?[\d.]+(?:[eE][+-]?\d+)?/g)) {
    if (/^-?\d+$/.test(number) && (BigInt(number) >= INT_LIMIT || BigInt(number) < -INT_LIMIT)) {
      throw new BitstreamError("statistics with a number of more than 64 bits");
    }
  }
  return values;
}
