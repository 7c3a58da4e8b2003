// Tick packets and the messages of the data channel "ticks". Format of a packet: codec_models/bitstream/packet.py.

import { BitstreamError } from "./errors.js";

const VERSION = 1;
const MAX_FACE_BYTES = 255;
/** The longest Opus frame (RFC 6716, section 3.4). */
const MAX_OPUS_BYTES = 1275;
const MAX_PACKET_BYTES = 3 + 5 * (1 + MAX_FACE_BYTES) + 2 + 2 * MAX_OPUS_BYTES;
export const MAX_REDUNDANT = 3;
const NOTHING = new Uint8Array(0);

/**
 * @typedef {object} TickPacket
 * @property {Uint8Array[]} faces 1 or 2 ticks, oldest first; empty where a tick has no face frame
 * @property {Uint8Array[]} opus as many, empty where a tick has no voice
 * @property {Uint8Array[]} redundant faces of up to three ticks just before, oldest first
 * @property {number | null} clockMs capture time of the first tick's start, milliseconds modulo 65536, or null
 */

/**
 * Serialise a packet. Raises RangeError where a field is out of the format's range.
 * @param {{faces: Uint8Array[], opus?: Uint8Array[], redundant?: Uint8Array[], clockMs?: number | null}} packet
 *   without `opus` no tick has a voice; any whole number of milliseconds will do for clockMs
 */
export function pack({ faces, opus = faces.map(() => NOTHING), redundant = [], clockMs = null }) {
  const n = faces.length;
  if ((n !== 1 && n !== 2) || opus.length !== n || redundant.length > MAX_REDUNDANT) {
    throw new RangeError("a packet holds 1 or 2 ticks, each with its voice, and at most 3 redundant faces");
  }
  const parts = [[(VERSION << 6) | ((n - 1) << 5) | (redundant.length << 3) | (clockMs === null ? 0 : 4)]];
  if (clockMs !== null) {
    const clock = ((Math.floor(clockMs) % 65536) + 65536) % 65536;
    parts.push([clock >> 8, clock & 255]);
  }
  for (const face of [...faces, ...redundant]) {
    if (face.length > MAX_FACE_BYTES) {
      throw new RangeError(`a face is at most ${MAX_FACE_BYTES} bytes, not ${face.length}`);
    }
    parts.push([face.length], face);
  }
  if (opus.some((o) => o.length > MAX_OPUS_BYTES)) {
    throw new RangeError(`an Opus frame is at most ${MAX_OPUS_BYTES} bytes`);
  }
  if (n === 2) {
    const size = opus[0].length;
    parts.push(size < 252 ? [size] : [252 + (size % 4), (size - 252) >> 2], opus[0]);
  }
  parts.push(opus[n - 1]);
  return join(parts);
}

/**
 * Parse a payload. Raises BitstreamError on anything that `pack` would not have written.
 * @param {Uint8Array} data
 * @returns {TickPacket} with views into data
 */
export function unpack(data) {
  if (data.length < 1 || data.length > MAX_PACKET_BYTES) {
    throw new BitstreamError(`a tick packet of ${data.length} bytes`);
  }
  const head = data[0];
  if (head >> 6 !== VERSION) {
    throw new BitstreamError(`tick packet version ${head >> 6}, this program speaks ${VERSION}`);
  }
  if (head & 3) throw new BitstreamError("reserved bits are set");
  let at = 1;
  const take = (size) => {
    if (at + size > data.length) throw new BitstreamError("tick packet is cut short");
    at += size;
    return data.subarray(at - size, at);
  };
  const n = ((head >> 5) & 1) + 1;
  const clock = head & 4 ? take(2) : null;
  const faces = [];
  for (let k = n + ((head >> 3) & 3); k > 0; k--) faces.push(take(take(1)[0]));
  const opus = [];
  if (n === 2) {
    const size = take(1)[0];
    opus.push(take(size < 252 ? size : size + 4 * take(1)[0]));
  }
  opus.push(take(data.length - at));
  if (opus.some((o) => o.length > MAX_OPUS_BYTES)) {
    throw new BitstreamError("an Opus frame is longer than RFC 6716 allows");
  }
  const clockMs = clock === null ? null : clock[0] * 256 + clock[1];
  return { faces: faces.slice(0, n), opus, redundant: faces.slice(n), clockMs };
}

/** Message page -> receiver: u32 tick number of the packet's first tick, then the packet. */
export function packTick(tick, packet) {
  if (!Number.isInteger(tick) || tick < 0 || tick >= 2 ** 32) throw new RangeError(`tick number ${tick}`);
  return join([[tick >>> 24, (tick >>> 16) & 255, (tick >>> 8) & 255, tick & 255], pack(packet)]);
}

/** The reverse. Raises BitstreamError. @returns {{tick: number, packet: TickPacket}} */
export function unpackTick(data) {
  return { tick: tickNumber(data), packet: unpack(data.subarray(4)) };
}

/**
 * Message receiver -> page: u32 tick number, then the 8x8 RGB picture that is shown, 192 bytes. Raises BitstreamError.
 * @returns {{tick: number, picture: Uint8Array}}
 */
export function unpackShown(data) {
  if (data.length !== 196) throw new BitstreamError(`an 8x8 picture of ${data.length} bytes`);
  return { tick: tickNumber(data), picture: data.subarray(4) };
}

/**
 * A voice packet with tick messages in front (codec_models/bitstream/voice_frame.py).
 * @param {Uint8Array[]} messages at most 3 @param {Uint8Array} opus
 */
export function packVoiceFrame(messages, opus) {
  if (messages.length > 3 || messages.some((m) => m.length > 0xffff)) {
    throw new RangeError("a voice frame carries at most 3 tick messages of at most 65535 bytes");
  }
  const parts = messages.flatMap((m) => [[m.length >>> 8, m.length & 255], m]);
  return join([[messages.length], ...parts, opus]);
}

function tickNumber(data) {
  if (data.length < 4) throw new BitstreamError("a tick message without its number");
  return ((data[0] << 24) | (data[1] << 16) | (data[2] << 8) | data[3]) >>> 0;
}

function join(parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
