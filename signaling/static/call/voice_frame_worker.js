// An encoded transform: puts tick messages before the Opus packets that pass (codec_models/bitstream/voice_frame.py).
//
// Takes messages {message: Uint8Array, at: ms of the Unix clock} and gives {waited: ms or null, missed: whether
// a message came just too late for the packet before, added: bytes} for every voice packet, and {late: Uint8Array} for a
// message that no packet came by for: the data channel takes that.

/* eslint-env worker */
import { packVoiceFrame } from "../coder/packet.js";

const MAX_MESSAGES = 3;
const LATE_MS = 70; // Voice packets come every 40.

/** @type {{message: Uint8Array, at: number}[]} */
let waiting = [];
const now = () => performance.timeOrigin + performance.now();

setInterval(() => {
  const until = now() - LATE_MS;
  for (const { message } of waiting.filter((one) => one.at < until)) postMessage({ late: message });
  waiting = waiting.filter((one) => one.at >= until);
}, LATE_MS / 2);

onmessage = ({ data }) => {
  if (data?.message) waiting.push(data);
};

// @ts-ignore the event of workers that transform
onrtctransform = ({ transformer }) => {
  const frames = new TransformStream({
    transform(frame, controller) {
      const taken = waiting.splice(0, MAX_MESSAGES);
      const waited = taken.length ? now() - taken[taken.length - 1].at : null;
      const framed = packVoiceFrame(taken.map((one) => one.message), new Uint8Array(frame.data));
      const added = framed.length - frame.data.byteLength;
      frame.data = framed.buffer;
      controller.enqueue(frame);
      postMessage({ waited, missed: taken.length > 1, added });
    },
  });
  transformer.readable.pipeThrough(frames).pipeTo(transformer.writable).catch(() => {}); // the connection is closed
};
