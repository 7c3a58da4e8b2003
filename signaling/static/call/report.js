/**
 * What this page knows about a call: counters, rates, and the report that can be downloaded. Pure: times
 * are `performance.now()` ms and handed in.
 */

export const TICK_MS = 40;
const PIXELS = 256 * 256;
const LATELY_MS = 3000; // as the receiver
const IPV4_AND_UDP = 28; // bytes of headers that getStats leaves out of a packet
// ICE's connectivity and consent checks (RFC 8445, RFC 7675), which getStats counts as messages but not as bytes:
// what Chromium's hold with user names of a usual length, and their answers over IPv4 (RFC 8489).
const STUN_REQUEST = 100;
const STUN_RESPONSE = 64;

/** Kilobits (1000) a second; 0 over no time. @param {number} bytes @param {number} seconds */
export function kbps(bytes, seconds) {
  return seconds > 0 ? (bytes * 8) / 1000 / seconds : 0;
}

/** Bits per pixel of 256x256 at 25 fps, whatever the rate of the 8x8 pictures. @param {number} faceKbps */
export function faceBpp(faceKbps) {
  return (faceKbps * 1000) / (25 * PIXELS);
}

/**
 * @typedef {object} Counters cumulative, of one connection
 * @property {number} wireSent bytes with IPv4 and UDP headers and ICE's checks
 * @property {number} wireReceived
 * @property {number} audioSent bytes of Opus
 * @property {number} audioReceived
 * @property {number} videoReceived
 * @property {number | null} roundTrip ms
 * @property {number} framesDecoded
 * @property {number} decodeMs all decoding so far
 * @property {number} waitMs all waiting in the jitter buffer so far
 * @property {number} waited pictures that have waited
 * @property {boolean} estimated the browser counts no packets, so the headers are a guess
 */

/** What getStats told, in one object. @param {any[]} stats @returns {Counters | null} null before anything is there */
export function digest(stats) {
  const of = (/** @type {string} */ type, /** @type {string} */ kind) =>
    stats.find((one) => one.type === type && (one.kind ?? one.mediaType) === kind);
  const transport = stats.find((one) => one.type === "transport");
  const pairs = stats.filter((one) => one.type === "candidate-pair");
  const pair =
    pairs.find((one) => one.id === transport?.selectedCandidatePairId) ??
    pairs.find((one) => one.selected) ??
    pairs.find((one) => one.nominated && one.state === "succeeded");
  // The transport counts through changes of the pair, where the browser has it.
  const path = transport?.packetsSent !== undefined ? transport : pair?.bytesSent !== undefined ? pair : transport;
  if (!path) return null;
  const [voice, heard, video] = [of("outbound-rtp", "audio"), of("inbound-rtp", "audio"), of("inbound-rtp", "video")];
  const channels = stats.filter((one) => one.type === "data-channel");
  const count = (/** @type {string} */ key) => channels.reduce((sum, one) => sum + (one[key] ?? 0), 0);
  const counted = path.packetsSent !== undefined && path.packetsReceived !== undefined;
  const sent = counted ? path.packetsSent : (voice?.packetsSent ?? 0) + count("messagesSent") * 1.5;
  const received = counted
    ? path.packetsReceived
    : (heard?.packetsReceived ?? 0) + (video?.packetsReceived ?? 0) + count("messagesReceived") * 1.5;
  const checks = (/** @type {"Sent" | "Received"} */ way) =>
    pairs.reduce(
      (sum, one) =>
        sum +
        (STUN_REQUEST + IPV4_AND_UDP) * (one[`requests${way}`] ?? 0) +
        (STUN_RESPONSE + IPV4_AND_UDP) * (one[`responses${way}`] ?? 0),
      0,
    );
  return {
    wireSent: (path.bytesSent ?? 0) + IPV4_AND_UDP * sent + checks("Sent"),
    wireReceived: (path.bytesReceived ?? 0) + IPV4_AND_UDP * received + checks("Received"),
    audioSent: voice?.bytesSent ?? 0,
    audioReceived: heard?.bytesReceived ?? 0,
    videoReceived: video?.bytesReceived ?? 0,
    roundTrip: typeof pair?.currentRoundTripTime === "number" ? 1000 * pair.currentRoundTripTime : null,
    framesDecoded: video?.framesDecoded ?? 0,
    decodeMs: 1000 * (video?.totalDecodeTime ?? 0),
    waitMs: 1000 * (video?.jitterBufferDelay ?? 0),
    waited: video?.jitterBufferEmittedCount ?? 0,
    estimated: !counted,
  };
}

/**
 * @typedef {object} Sample counters of the whole call at a time
 * @property {number} at @property {number} faceBytes @property {number} wireSent @property {number} wireReceived
 * @property {number} audioSent @property {number} shown
 */

const ADDED = /** @type {const} */ (["wireSent", "wireReceived", "audioSent", "audioReceived", "videoReceived"]);

export class Report {
  /** @param {Record<string, unknown>} settings @param {string} userAgent */
  constructor(settings, userAgent) {
    this.settings = settings;
    this._userAgent = userAgent;
    this.ticks = 0;
    this.skipped = 0;
    this.pictures = 0;
    this.faceBytes = 0;
    this.messageBytes = 0;
    this.stills = 0;
    this.stillBytes = 0;
    this.refreshes = 0;
    this.shown = 0;
    this.connections = 0;
    this.connectMs = /** @type {number | null} */ (null);
    this.firstPictureMs = /** @type {number | null} */ (null);
    this.statistics = /** @type {Record<string, number | string> | null} */ (null);
    this.roundTrip = /** @type {number | null} */ (null);
    /** Wait in the jitter buffer and decoding of a picture lately, ms. */
    this.backMs = /** @type {number | null} */ (null);
    this._total = { wireSent: 0, wireReceived: 0, audioSent: 0, audioReceived: 0, videoReceived: 0 };
    this._last = /** @type {Counters | null} */ (null);
    this._estimated = false;
    this._first = /** @type {number | null} */ (null);
    this._begin = /** @type {number | null} */ (null);
    this._latest = 0;
    /** @type {Sample[]} */
    this._samples = [];
  }

  /**
   * A tick was sent.
   * @param {number} now @param {number} face bytes @param {number} message bytes @param {boolean} pictured
   */
  tick(now, face, message, pictured) {
    this._first ??= now;
    this._latest = now;
    this.ticks += 1;
    this.pictures += pictured ? 1 : 0;
    this.faceBytes += face;
    this.messageBytes += message;
  }

  /** @param {number} bytes */
  still(bytes) {
    this.stills += 1;
    this.stillBytes += bytes;
  }

  /** So many more were shown. @param {number} pictures @param {number} sinceJoin ms */
  picture(pictures, sinceJoin) {
    this.firstPictureMs ??= sinceJoin;
    this.shown += pictures;
  }

  /** Another connection: its counters begin at 0. @param {number} now */
  connected(now) {
    this._last = null;
    this._begin ??= now;
    this.connections += 1;
  }

  /** About once a second. @param {number} now @param {Counters | null} counters */
  sample(now, counters) {
    if (counters) {
      const last = this._last;
      for (const key of ADDED) this._total[key] += Math.max(0, counters[key] - (last ? last[key] : 0));
      this._estimated = counters.estimated;
      if (counters.roundTrip !== null) this.roundTrip = counters.roundTrip;
      const [decoded, waited] = [
        counters.framesDecoded - (last?.framesDecoded ?? 0),
        counters.waited - (last?.waited ?? 0),
      ];
      if (decoded > 0 && waited > 0) {
        this.backMs =
          (counters.decodeMs - (last?.decodeMs ?? 0)) / decoded + (counters.waitMs - (last?.waitMs ?? 0)) / waited;
      }
      this._last = counters;
    }
    const { wireSent, wireReceived, audioSent } = this._total;
    this._samples.push({ at: now, faceBytes: this.faceBytes, wireSent, wireReceived, audioSent, shown: this.shown });
    while (this._samples.length > 2 && now - this._samples[1].at >= LATELY_MS) this._samples.shift();
  }

  /** From the first tick sent to the end of the last. */
  get seconds() {
    return this._first === null ? 0 : (this._latest - this._first + TICK_MS) / 1000;
  }

  /** Rates of the last three seconds, kb/s; null before there are two samples. */
  get lately() {
    const [a, b] = [this._samples[0], this._samples[this._samples.length - 1]];
    if (!a || !b || b.at - a.at < 500) return null;
    const seconds = (b.at - a.at) / 1000;
    const rate = (/** @type {keyof Sample} */ key) => kbps(b[key] - a[key], seconds);
    const face = rate("faceBytes");
    return {
      faceKbps: face,
      audioKbps: rate("audioSent"),
      wireKbps: rate("wireSent"),
      wireDownKbps: rate("wireReceived"),
      bpp: faceBpp(face),
      shownFps: (b.shown - a.shown) / seconds,
    };
  }

  /** Half the round trip, the wait and the decoding of what comes down, ms; null while unknown. */
  get wayBackMs() {
    return this.roundTrip === null || this.backMs === null ? null : this.roundTrip / 2 + this.backMs;
  }

  /** The report. Rates are kb/s; what is sent is counted here, what is shown is told by the receiver. */
  summary() {
    const seconds = this.seconds;
    const connected = this._begin === null || !this._samples.length
      ? 0
      : Math.max(0, (this._samples[this._samples.length - 1].at - this._begin) / 1000);
    const face = kbps(this.faceBytes, seconds);
    const round = (/** @type {number | null | undefined} */ v, digits = 4) =>
      typeof v === "number" ? Number(v.toFixed(digits)) : null;
    const { lately } = this;
    return {
      role: "page",
      user_agent: this._userAgent,
      settings: this.settings,
      connect_ms: round(this.connectMs, 0),
      first_picture_ms: round(this.firstPictureMs, 0),
      connections: this.connections,
      seconds: round(seconds, 3),
      connected_seconds: round(connected, 3),
      ticks_sent: this.ticks,
      ticks_skipped: this.skipped,
      frames_sent: this.pictures,
      face_bytes: this.faceBytes,
      message_bytes: this.messageBytes,
      audio_bytes: this._total.audioSent,
      wire_bytes: Math.round(this._total.wireSent),
      wire_received_bytes: Math.round(this._total.wireReceived),
      video_received_bytes: this._total.videoReceived,
      wire_is_estimated: this._estimated,
      identities: this.stills,
      identity_bytes: this.stillBytes,
      refreshes: this.refreshes,
      face_kbps: round(face),
      face_bpp: round(faceBpp(face), 7),
      audio_kbps: round(kbps(this._total.audioSent, connected)),
      wire_kbps: round(kbps(this._total.wireSent, connected), 3),
      wire_received_kbps: round(kbps(this._total.wireReceived, connected), 3),
      lately: lately && {
        face_kbps: round(lately.faceKbps),
        audio_kbps: round(lately.audioKbps),
        wire_kbps: round(lately.wireKbps, 3),
        shown_fps: round(lately.shownFps, 2),
      },
      frames_shown: this.shown,
      round_trip_ms: round(this.roundTrip, 1),
      way_back_ms: round(this.wayBackMs, 1),
      receiver: this.statistics,
    };
  }
}
