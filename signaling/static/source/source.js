/**
 * Where picture and voice come from: camera and microphone, a video file, or the demo face.
 *
 * A file's sound is not played here: from `startSound` on it goes into the track that is sent. Every source gets a
 * <video> of its own, since an element is tied to the audio context that once took its sound.
 */
import { Failure } from "../call/failure.js";

const DEMO = "/demo.webm";
const LOAD_MS = 10_000;
const VIDEO = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 25 } };
const AUDIO = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/** @typedef {"camera"|"file"|"demo"} Kind */

export class Source {
  /** @param {HTMLVideoElement} video is replaced with each source @param {() => void} onLost the camera is gone */
  constructor(video, onLost) {
    /** The element that shows the source. */
    this.video = video;
    this._onLost = onLost;
    /** @type {Kind | null} */
    this.kind = null;
    /** @type {MediaStreamTrack | null} */
    this.voice = null;
    /** @type {MediaStreamTrack | null} */
    this._camera = null;
    /** @type {AudioContext | null} */
    this._audio = null;
    this._address = "";
    this._cameraId = "";
    this._muted = false;
    this._turn = 0;
  }

  get ready() {
    return this.kind !== null;
  }

  /**
   * Raises Failure. @param {{cameraId?: string, microphoneId?: string, silent?: boolean}} wanted
   * silent: without a microphone
   */
  async useCamera({ cameraId = "", microphoneId = "", silent = false } = {}) {
    this.stop();
    const turn = this._turn;
    const stream = await media({ cameraId, microphoneId, silent });
    if (turn !== this._turn) return void stream.getTracks().forEach((track) => track.stop());
    this.kind = "camera";
    this.voice = stream.getAudioTracks()[0] ?? null;
    this.muted = this._muted;
    await this._show(stream.getVideoTracks()[0]);
  }

  /** Raises Failure. @param {File} file */
  async useFile(file) {
    this.stop();
    this._address = URL.createObjectURL(file);
    await this._play("file", this._address);
  }

  /** Raises Failure. */
  async useDemo() {
    this.stop();
    await this._play("demo", DEMO);
  }

  /** Take the sound of a file into the track that is sent; after a click, as browsers want it. */
  async startSound() {
    if (this.kind === "camera" || this.kind === null || this._audio) return;
    const audio = new AudioContext();
    this._audio = audio;
    const destination = audio.createMediaStreamDestination();
    destination.channelCount = 1;
    audio.createMediaElementSource(this.video).connect(destination);
    this.voice = destination.stream.getAudioTracks()[0];
    this.muted = this._muted;
    // A context that the browser does not let run yet must hold nothing up: the voice comes when it runs.
    audio.resume().catch(() => {});
    this.video.muted = false;
    await this.video.play().catch(() => {});
  }

  get muted() {
    return this._muted;
  }

  set muted(muted) {
    this._muted = muted;
    if (this.voice) this.voice.enabled = !muted;
  }

  /** Turn the camera itself off and on, its light with it; a file goes on. Raises Failure. @param {boolean} on */
  async setCamera(on) {
    if (this.kind !== "camera") return;
    if (!on) {
      this._release();
      this.video.srcObject = null;
      this.video.classList.remove("playing");
    } else if (!this._camera) {
      const turn = this._turn;
      const stream = await media({ cameraId: this._cameraId, microphoneId: "", silent: true });
      if (turn !== this._turn) return void stream.getTracks().forEach((track) => track.stop());
      await this._show(stream.getVideoTracks()[0]);
    }
  }

  /** Lets go of devices, file and sound. */
  stop() {
    this._turn += 1;
    this._release();
    this.voice?.stop();
    this.voice = null;
    this._audio?.close().catch(() => {});
    this._audio = null;
    this.kind = null;
    const old = this.video;
    const fresh = /** @type {HTMLVideoElement} */ (old.cloneNode(false));
    fresh.classList.remove("playing");
    fresh.removeAttribute("src");
    fresh.muted = true; // the clone of an element that was turned on by script would be loud
    old.replaceWith(fresh);
    this.video = fresh;
    old.pause();
    old.srcObject = null;
    old.removeAttribute("src");
    old.load();
    if (this._address) URL.revokeObjectURL(this._address);
    this._address = "";
  }

  /** Ids of the camera and microphone in use, "" where there is none. */
  get devices() {
    const id = (/** @type {MediaStreamTrack | null} */ track) => track?.getSettings().deviceId ?? "";
    return { camera: id(this._camera), microphone: this.kind === "camera" ? id(this.voice) : "" };
  }

  _release() {
    if (!this._camera) return;
    this._camera.onended = null;
    this._camera.stop();
    this._camera = null;
  }

  /** @param {MediaStreamTrack} track */
  async _show(track) {
    this._camera = track;
    this._cameraId = track.getSettings().deviceId ?? "";
    track.onended = () => {
      this._release();
      this._onLost();
    };
    this.video.srcObject = new MediaStream([track]);
    this.video.classList.add("playing");
    await this.video.play().catch(() => {});
  }

  /** @param {"file"|"demo"} kind @param {string} address */
  async _play(kind, address) {
    const { video } = this;
    const turn = this._turn;
    video.loop = true;
    video.src = address;
    const failure = new Failure(kind === "file" ? "file-unplayable" : "demo-missing");
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(failure), LOAD_MS);
      video.onloadeddata = () => (video.videoWidth ? resolve(undefined) : reject(failure));
      video.onerror = () => reject(failure);
      video.onemptied = () => clearTimeout(timer);
    }).catch((error) => {
      if (turn === this._turn) this.stop();
      throw error;
    });
    video.onloadeddata = video.onerror = video.onemptied = null;
    if (turn !== this._turn) return;
    this.kind = kind;
    video.classList.add("playing");
    await video.play().catch(() => {});
  }
}

/**
 * Cameras and microphones, named once the page may use them.
 * @returns {Promise<{cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[]}>}
 */
export async function listDevices() {
  const found = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  const of = (/** @type {string} */ kind) => found.filter((one) => one.kind === kind && one.deviceId);
  return { cameras: of("videoinput"), microphones: of("audioinput") };
}

/**
 * @param {{cameraId: string, microphoneId: string, silent: boolean}} wanted
 * @returns {Promise<MediaStream>} raises Failure
 */
async function media({ cameraId, microphoneId, silent }) {
  if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new Failure("insecure");
  const exactly = (/** @type {string} */ id) => (id ? { deviceId: { exact: id } } : {});
  const video = { ...VIDEO, ...exactly(cameraId) };
  const audio = silent ? false : { ...AUDIO, ...exactly(microphoneId) };
  try {
    return await navigator.mediaDevices.getUserMedia({ video, audio });
  } catch (error) {
    throw new Failure(await kindOf(/** @type {any} */ (error)?.name ?? "", silent));
  }
}

/** @param {string} name of the browser's error @param {boolean} silent */
async function kindOf(name, silent) {
  if (name === "NotAllowedError" || name === "PermissionDeniedError") return "permission-refused";
  if (name === "SecurityError" || name === "TypeError") return "insecure";
  if (!["NotFoundError", "DevicesNotFoundError", "OverconstrainedError"].includes(name)) return "camera-busy";
  const found = (await navigator.mediaDevices.enumerateDevices().catch(() => [])) ?? [];
  const has = (/** @type {string} */ kind) => found.some((one) => one.kind === kind);
  return has("videoinput") && !silent && !has("audioinput") ? "no-microphone" : "no-camera";
}
