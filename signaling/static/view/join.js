/**
 * Before the call: the link, what to send, which devices, and the button that joins.
 */
import { foreignAddress, parseLink } from "../call/link.js";
import { asFailure } from "../call/failure.js";
import { listDevices } from "../source/source.js";

/** @typedef {import("../source/source.js").Source} Source @typedef {import("../source/source.js").Kind} Kind */

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

export class JoinView {
  /**
   * @param {Source} source
   * @param {object} events
   * @param {(link: import("../call/link.js").Link) => void} events.onLink
   * @param {() => void} events.onBrokenLink
   * @param {() => void} events.onJoin
   * @param {() => void} events.onChosen a source is there, or gone
   * @param {(failure: import("../call/failure.js").Failure) => void} events.onFailure
   */
  constructor(source, events) {
    this._source = source;
    this._events = events;
    this._turn = 0;
    this._busy = false;
    byId("link-form").addEventListener("submit", (/** @type {Event} */ event) => this._open(event));
    byId("source-camera").addEventListener("click", () => this.camera());
    byId("source-file").addEventListener("click", () => this.pickFile());
    byId("source-demo").addEventListener("click", () => this.demo());
    byId("file").addEventListener("change", () => this._file());
    byId("camera").addEventListener("change", () => this.camera());
    byId("microphone").addEventListener("change", () => this.camera());
    byId("join-button").addEventListener("click", () => events.onJoin());
    byId("watch").addEventListener("click", () => events.onJoin());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => {
      if (source.kind === "camera") this._fillDevices();
    });
  }

  /** @returns {25 | 5} */
  get fps() {
    const chosen = /** @type {HTMLInputElement | null} */ (document.querySelector('input[name="fps"]:checked'));
    return chosen?.value === "5" ? 5 : 25;
  }

  /** Joining is under way. @param {boolean} busy */
  setBusy(busy) {
    this._busy = busy;
    byId("join-button").textContent = busy ? "Joining …" : "Join";
    byId("watch").textContent = busy ? "Joining …" : "Watch";
    this._show();
  }

  /** Camera and microphone as chosen. @param {boolean} [silent] without a microphone */
  camera(silent = false) {
    const wanted = { cameraId: byId("camera").value, microphoneId: byId("microphone").value, silent };
    return this._choose("camera", () => this._source.useCamera(wanted));
  }

  demo() {
    return this._choose("demo", () => this._source.useDemo());
  }

  pickFile() {
    byId("file").click();
  }

  /** Nothing is chosen any more. */
  reset() {
    this._turn += 1;
    this._source.stop();
    this._show();
  }

  /** @param {Event} event */
  _open(event) {
    event.preventDefault();
    const text = byId("link").value.trim();
    const link = parseLink(text);
    const foreign = foreignAddress(text, window.location.origin);
    if (link && foreign) {
      window.location.assign(foreign); // it belongs to another server's page
      return;
    }
    if (!link) {
      this._events.onBrokenLink();
      return;
    }
    byId("link").value = "";
    this._events.onLink(link);
  }

  _file() {
    const input = byId("file");
    const file = input.files?.[0];
    if (!file) return;
    this._choose("file", () => this._source.useFile(file)).then(() => {
      if (this._source.kind === "file") byId("file-name").textContent = file.name;
    });
    input.value = "";
  }

  /** @param {Kind} kind @param {() => Promise<void>} use */
  async _choose(kind, use) {
    this._turn += 1;
    const turn = this._turn;
    this._show(kind);
    try {
      await use();
      if (turn !== this._turn) return;
      if (kind === "camera") await this._fillDevices();
    } catch (error) {
      if (turn !== this._turn) return;
      this._source.stop();
      this._show();
      this._events.onFailure(asFailure(error, "camera-busy"));
      return;
    }
    this._show();
    this._events.onChosen();
  }

  async _fillDevices() {
    const { cameras, microphones } = await listDevices();
    const used = this._source.devices;
    fill(byId("camera"), cameras, used.camera, "Camera");
    fill(byId("microphone"), microphones, used.microphone, "Microphone");
  }

  /** @param {Kind | null} [coming] the source that is being opened */
  _show(coming = null) {
    const kind = coming ?? this._source.kind;
    for (const one of ["camera", "file", "demo"]) {
      byId(`source-${one}`).setAttribute("aria-pressed", String(one === kind));
    }
    byId("devices").hidden = this._source.kind !== "camera";
    byId("join-button").disabled = this._busy || !this._source.ready;
    byId("watch").disabled = this._busy;
    byId("stage-empty").hidden = this._source.ready;
    byId("stage-empty").textContent = coming ? "One moment …" : "Choose what to send";
    byId("square-help").hidden = byId("follow-row").hidden = byId("preview8-figure").hidden = !this._source.ready;
    if (!this._source.ready) byId("square").hidden = true;
    if (kind !== "file") byId("file-name").textContent = "From this device, with its sound";
  }
}

/** @param {HTMLSelectElement} select @param {MediaDeviceInfo[]} devices @param {string} used @param {string} name */
function fill(select, devices, used, name) {
  select.replaceChildren(
    ...devices.map((device, k) => new Option(device.label || `${name} ${k + 1}`, device.deviceId)));
  select.value = used;
  select.disabled = devices.length === 0;
}
