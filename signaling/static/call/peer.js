/**
 * One peer connection, from its offer to its close: voice up, the drawn picture and voice down, two data channels.
 *
 * "control" (id 0) is ordered and reliable, "ticks" (id 1) neither; both are negotiated, so nothing is announced. Where
 * the browser lets a page at its voice packets, ticks travel in those (`voice_frames.js`).
 */

import { VoiceFrames, announced } from "./voice_frames.js";

const GATHER_MS = 1000;
const MAX_WAITING_BYTES = 600;
/** Ticks that wait to be sent; more would be late anyway. */
const BYE_MS = 150;

/**
 * @typedef {object} PeerEvents
 * @property {() => void} opened both channels can be used
 * @property {(reason: string) => void} closed once, with the reason; never after `close`
 * @property {(data: Uint8Array) => void} control
 * @property {(data: Uint8Array) => void} tick
 * @property {(stream: MediaStream) => void} stream what comes down
 * @property {(quiet: boolean) => void} quiet whether nothing comes from the other side any more
 * @property {(fragment: string) => void} candidates found after the offer went (RFC 8840)
 */

export class Peer {
  /**
   * @param {RTCIceServer[]} iceServers
   * @param {{sends: boolean, audio: MediaStreamTrack | null}} own what goes up
   * @param {PeerEvents} events
   */
  constructor(iceServers, { sends, audio }, events) {
    this._events = events;
    this._closed = false;
    this._opened = false;
    this._offered = false;
    /** @type {string[]} */
    this._late = [];
    this._stream = new MediaStream();
    this._pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this._voice = this._pc.addTransceiver(audio ?? "audio", { direction: sends ? "sendrecv" : "recvonly" });
    this._pc.addTransceiver("video", { direction: "recvonly" });
    this._control = this._channel("control", 0, { ordered: true });
    this._ticks = this._channel("ticks", 1, { ordered: false, maxRetransmits: 0 });
    const late = (/** @type {Uint8Array} */ message) => this._send(this._ticks, message);
    this._frames = sends ? VoiceFrames.of(this._voice.sender, late) : null;
    this._control.onmessage = ({ data }) => this._message(data, events.control);
    this._ticks.onmessage = ({ data }) => this._message(data, events.tick);
    this._pc.ontrack = ({ track, streams }) => this._track(track, streams[0]);
    this._pc.onicecandidate = ({ candidate }) => this._candidate(candidate);
    this._pc.onconnectionstatechange = () => {
      const state = this._pc.connectionState;
      if (state === "failed" || state === "closed") this._end(this._opened ? "lost" : "failed");
      else if (this._opened && !this._closed) events.quiet(state === "disconnected");
    };
    // Firefox before 113 knows the state of the transport alone.
    this._pc.oniceconnectionstatechange = () => {
      if (this._pc.iceConnectionState === "failed") this._end(this._opened ? "lost" : "failed");
    };
  }

  get connected() {
    return this._opened && !this._closed;
  }

  /** Gathers for a second at most. @returns {Promise<string>} the SDP offer */
  async offer() {
    await this._pc.setLocalDescription(await this._pc.createOffer());
    if (this._pc.iceGatheringState !== "complete") {
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, GATHER_MS);
        this._pc.addEventListener("icegatheringstatechange", () => {
          if (this._pc.iceGatheringState !== "complete") return;
          clearTimeout(timer);
          resolve(undefined);
        });
      });
    }
    this._offered = true;
    const sdp = this._pc.localDescription?.sdp ?? "";
    return this._frames ? announced(sdp) : sdp;
  }

  /** @param {string} answer SDP */
  async accept(answer) {
    await this._pc.setRemoteDescription({ type: "answer", sdp: answer });
  }

  /** @param {MediaStreamTrack | null} track */
  async replaceVoice(track) {
    await this._voice.sender.replaceTrack(track);
  }

  /** @param {Uint8Array} data @returns {boolean} false when it could not be sent */
  sendControl(data) {
    return this._send(this._control, data);
  }

  /** @param {Uint8Array} data @returns {boolean} */
  sendTick(data) {
    if (!this._frames?.flowing) return this._send(this._ticks, data);
    this._frames.add(data);
    return true;
  }

  /** Told by how many ms ticks should be later, to be ready just before a voice packet. @param {(ms: number) => void} shift */
  onShift(shift) {
    if (this._frames) this._frames.shift = shift;
  }

  /** Whether the link takes another tick now. */
  get ready() {
    return this.connected && this._ticks.readyState === "open" && this._ticks.bufferedAmount <= MAX_WAITING_BYTES;
  }

  /** @returns {Promise<any[]>} what getStats tells, one object each */
  async stats() {
    if (this._closed) return [];
    /** @type {any[]} */
    const found = [];
    (await this._pc.getStats()).forEach((one) => found.push(one));
    const added = this._frames?.added ?? 0;
    // The browser takes all that its voice packets hold for voice.
    return found.map((one) =>
      one.type === "outbound-rtp" && one.kind === "audio" ? { ...one, bytesSent: one.bytesSent - added } : one);
  }

  /** No event comes any more. @param {Uint8Array | null} bye the last message */
  async close(bye = null) {
    if (this._closed) return;
    this._closed = true;
    if (bye && this._send(this._control, bye)) {
      const until = performance.now() + BYE_MS;
      // What is handed to the transport still needs a moment to leave.
      while (this._control.bufferedAmount > 0 && performance.now() < until) await pause(10);
      await pause(20);
    }
    this._pc.close();
    this._frames?.close();
    for (const track of this._stream.getTracks()) track.stop();
  }

  /** @param {string} label @param {number} id @param {RTCDataChannelInit} options */
  _channel(label, id, options) {
    const channel = this._pc.createDataChannel(label, { negotiated: true, id, ...options });
    channel.binaryType = "arraybuffer";
    channel.onopen = () => this._open();
    channel.onclose = () => this._end("closed");
    return channel;
  }

  _open() {
    if (this._opened || this._closed) return;
    if (this._control.readyState !== "open" || this._ticks.readyState !== "open") return;
    this._opened = true;
    this._events.opened();
  }

  /** @param {string} reason lost, failed or closed */
  _end(reason) {
    if (this._closed) return;
    this._closed = true;
    this._pc.close();
    this._frames?.close();
    this._events.closed(reason);
  }

  /** @param {RTCDataChannel} channel @param {Uint8Array} data */
  _send(channel, data) {
    if (channel.readyState !== "open") return false;
    try {
      channel.send(/** @type {Uint8Array<ArrayBuffer>} */ (data));
      return true;
    } catch {
      return false; // its buffer is full
    }
  }

  /** @param {unknown} data @param {(data: Uint8Array) => void} take */
  _message(data, take) {
    if (!this._closed && data instanceof ArrayBuffer) take(new Uint8Array(data));
  }

  /** @param {MediaStreamTrack} track @param {MediaStream | undefined} stream */
  _track(track, stream) {
    // Voice and picture of one stream are kept in step; without a stream of theirs they get one here.
    if (stream) this._stream = stream;
    else this._stream.addTrack(track);
    if (!this._closed) this._events.stream(this._stream);
  }

  /** @param {RTCIceCandidate | null} candidate */
  _candidate(candidate) {
    if (!this._offered || this._closed) return;
    const sdp = this._pc.localDescription?.sdp ?? "";
    const ice = sdp.split(/\r?\n/).filter((line) => /^a=ice-(ufrag|pwd):/.test(line)).slice(0, 2);
    const last = candidate === null || candidate.candidate === "";
    const line = last ? "a=end-of-candidates" : `a=${candidate.candidate}`;
    const lines = [...ice, "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", line];
    this._events.candidates(`${lines.join("\r\n")}\r\n`);
  }
}

/** @param {number} ms @returns {Promise<void>} */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * What this browser lacks for a call, "" when nothing: "webrtc", "Opus" or "VP8 and H.264".
 * @param {any} window
 */
export function lacking(window) {
  if (typeof window.RTCPeerConnection !== "function" || !("addTransceiver" in window.RTCPeerConnection.prototype)) {
    return "webrtc";
  }
  const codecs = (/** @type {any} */ side, /** @type {string} */ kind) => side?.getCapabilities?.(kind)?.codecs ?? null;
  const names = (/** @type {any[]} */ found) => found.map((codec) => codec.mimeType.toLowerCase());
  const voice = codecs(window.RTCRtpSender, "audio");
  if (voice && !names(voice).includes("audio/opus")) return "Opus";
  const video = codecs(window.RTCRtpReceiver, "video");
  if (video && !names(video).some((name) => name === "video/vp8" || name === "video/h264")) return "VP8 and H.264";
  return "";
}
