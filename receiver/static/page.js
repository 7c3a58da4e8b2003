// Shows one call: pictures and voice come over a WebSocket, each with the number of its 40 ms tick. With sound on, the
// audio clock leads and each picture waits until the voice of its tick has been heard, at whose end it was taken;
// without, pictures are shown as they come.

const RATE = 48000;
const PICTURE = 1;
const VOICE = 2;
const MAX_WAITING = 30;

const byId = (id) => document.getElementById(id);
const video = byId("video").getContext("2d");
const low = byId("low").getContext("2d");
const state = byId("state");
const sound = byId("sound");

// Counters that a test can read.
const counters = (window.pinhole = { pictures: 0, chunks: 0, underruns: 0, dropped: 0, offsets: [] });

class Voice {
  // Schedules chunks back to back on the audio clock and knows when the voice of a tick has been heard.
  constructor() {
    this.context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
    this.end = 0; // Audio time at which the last scheduled chunk ends.
    this.lead = 0.06;
    this.times = new Map();
  }

  add(key, samples) {
    const now = this.context.currentTime;
    const waiting = this.end - now;
    this.times.set(key, Math.max(this.end, now));
    if (this.times.size > 200) this.times.delete(this.times.keys().next().value);
    if (!samples.length) return;
    if (waiting > 0.5) {
      counters.dropped += 1; // The tab slept: skip what has piled up.
      return;
    }
    const buffer = this.context.createBuffer(1, samples.length, RATE);
    const data = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) data[i] = samples[i] / 32768;
    if (waiting < 0.002) {
      if (this.end > 0) {
        counters.underruns += 1;
        this.lead = Math.min(this.lead + 0.02, 0.25);
      }
      this.end = now + this.lead;
      const n = Math.min(240, data.length);
      for (let i = 0; i < n; i++) data[i] *= i / n;
    }
    const source = this.context.createBufferSource();
    source.buffer = buffer;
    // The sound card's clock is not the sender's: follow it by half a per cent, which nobody hears.
    source.playbackRate.value = waiting > this.lead + 0.06 ? 1.005 : waiting < this.lead - 0.04 ? 0.995 : 1;
    source.connect(this.context.destination);
    source.start(this.end);
    this.end += samples.length / RATE / source.playbackRate.value;
    this.times.set(key, this.end);
    counters.chunks += 1;
  }

  // Seconds until the voice of a tick has been heard to its end; negative after that; 0 when there is none.
  until(key) {
    const at = this.times.get(key);
    if (at === undefined) return 0;
    const delay = this.context.outputLatency || this.context.baseLatency || 0;
    return at + delay - this.context.currentTime;
  }

  get running() {
    return this.context.state === "running";
  }
}

let voice = null;
let waiting = []; // Decoded pictures, oldest first.
let arrivals = 0;

async function addPicture(key, bytes, view) {
  const order = ++arrivals;
  const lowSize = view.getUint16(2, true);
  const jpeg = new Blob([bytes.subarray(8 + lowSize)], { type: "image/jpeg" });
  let bitmap;
  try {
    bitmap = await createImageBitmap(jpeg);
  } catch {
    return;
  }
  waiting.push({ key, order, bitmap, low: bytes.subarray(8, 8 + lowSize) });
  waiting.sort((a, b) => a.order - b.order);
  while (waiting.length > MAX_WAITING) waiting.shift().bitmap.close();
  if (document.hidden) show();
}

function show() {
  let newest = null;
  const synced = voice !== null && voice.running;
  while (waiting.length && (!synced || voice.until(waiting[0].key) <= 0.008)) {
    newest?.bitmap.close();
    newest = waiting.shift();
  }
  if (newest === null) return;
  video.drawImage(newest.bitmap, 0, 0);
  newest.bitmap.close();
  if (newest.low.length === 192) {
    const pixels = low.createImageData(8, 8);
    for (let i = 0; i < 64; i++) {
      pixels.data.set(newest.low.subarray(3 * i, 3 * i + 3), 4 * i);
      pixels.data[4 * i + 3] = 255;
    }
    low.putImageData(pixels, 0, 0);
  }
  if (counters.pictures === 0) {
    byId("empty").hidden = true;
    byId("badge").hidden = false;
  }
  counters.pictures += 1;
  if (synced) {
    counters.offsets.push(-voice.until(newest.key));
    if (counters.offsets.length > 1000) counters.offsets.shift();
  }
}

function loop() {
  show();
  requestAnimationFrame(loop);
}
requestAnimationFrame(loop);

const number = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "–");

function setFigures(f) {
  byId("face_kbps").textContent = number(f.face_kbps, 2);
  byId("audio_kbps").textContent = number(f.audio_kbps, 1);
  byId("wire_kbps").textContent = number(f.wire_kbps, 1);
  byId("latency_ms").textContent = number(f.latency_ms, 0);
  byId("fps").textContent = number(f.fps, 1);
  byId("bpp").textContent = number(f.bpp, 5);
  byId("lost").textContent = number(f.lost, 0);
  byId("concealed").textContent = number(f.concealed, 0);
  byId("engine").textContent = `${f.backend} on ${f.device}`;
  setState(f.state, f.live);
}

function setState(text, live) {
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("live", live);
}

sound.addEventListener("click", async () => {
  if (voice === null) voice = new Voice();
  const on = sound.getAttribute("aria-pressed") !== "true";
  if (on) {
    voice.end = 0;
    await voice.context.resume();
  } else {
    await voice.context.suspend();
  }
  sound.setAttribute("aria-pressed", String(on));
  sound.textContent = on ? "Turn sound off" : "Turn sound on";
});

let pause = 250;
let ended = false;

function connect() {
  const address = new URL("call", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    pause = 250;
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      const figures = JSON.parse(data);
      ended = figures.ended === true;
      setFigures(figures);
      return;
    }
    const view = new DataView(data);
    const key = view.getUint8(1) * 2 ** 32 + view.getUint32(4, true); // Timeline and tick.
    if (view.getUint8(0) === PICTURE) {
      addPicture(key, new Uint8Array(data), view);
    } else if (view.getUint8(0) === VOICE && voice !== null && voice.running) {
      voice.add(key, new Int16Array(data, 8));
    }
  };
  socket.onclose = () => {
    setState(ended ? "The call has ended" : "The receiver does not answer, trying again …", false);
    setTimeout(connect, pause);
    pause = Math.min(pause * 2, 4000);
  };
}
connect();
