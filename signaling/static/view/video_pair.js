// Two silent videos of equal length, played in step, over and over.

const EVERY_MS = 100;
/** Seconds that the right video may be off before its speed changes, and before it is put where the left one is. */
const LOOSE = 0.012;
const FAR = 0.25;
/** Share of the distance that is made up for in a second, and the most that the speed changes. */
const PULL = 1.5;
const MOST = 0.2;

export class VideoPair {
  /**
   * @param {HTMLVideoElement} left
   * @param {HTMLVideoElement} right
   * @param {{playing: (on: boolean) => void, failed: (why: string) => void}} tell
   */
  constructor(left, right, tell) {
    this.videos = [left, right];
    this.tell = tell;
    this.wanted = false;
    this.visible = true;
    this.loads = [0, 0];
    this.urls = ["", ""];
    this.timer = 0;
    this.rewinding = false;
    for (const video of this.videos) video.addEventListener("ended", () => this.again());
    // It stops out of sight and while its part of the page is hidden.
    new IntersectionObserver((entries) => {
      this.visible = entries[entries.length - 1].isIntersecting;
      this.update();
    }).observe(left);
  }

  /** Show another file on a side (0, 1) at the moment where the pair is. Fetched whole: every seek is at once. */
  async show(side, address) {
    const number = ++this.loads[side];
    const current = () => number === this.loads[side];
    let url = "";
    try {
      const response = await fetch(address);
      if (!response.ok) throw new Error(`status ${response.status}`);
      url = URL.createObjectURL(await response.blob());
    } catch (error) {
      if (current()) this.tell.failed(`The video cannot be loaded (${error.message}): try again.`);
      return;
    }
    if (!current()) {
      URL.revokeObjectURL(url);
      return;
    }
    const video = this.videos[side];
    const old = this.urls[side];
    this.urls[side] = url;
    video.src = url;
    if (old) URL.revokeObjectURL(old);
    const loaded = await happens(video, "loadeddata", ["error"]);
    if (!current()) return;
    if (!loaded) {
      this.tell.failed("This browser does not play the videos: they are H.264 in MP4.");
      return;
    }
    await seek(video, this.videos[1 - side].currentTime);
    this.update();
  }

  play() {
    this.wanted = true;
    this.update();
  }

  /** Paused, both stand at the same picture. */
  async toggle() {
    this.wanted = !this.wanted;
    await this.update();
    if (!this.wanted) await seek(this.videos[1], this.videos[0].currentTime);
  }

  /** Play or stop, as is wanted, seen and possible. */
  async update() {
    this.tell.playing(this.wanted);
    const ready = this.videos.every((video) => video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA);
    clearInterval(this.timer);
    if (!this.wanted || !this.visible || !ready) {
      for (const video of this.videos) video.pause();
      return;
    }
    this.timer = setInterval(() => this.keep(), EVERY_MS);
    if (this.videos.some((video) => video.ended)) {
      await this.again();
      return;
    }
    try {
      await Promise.all(this.videos.map((video) => video.play()));
    } catch (error) {
      // AbortError: another file was chosen, or a pause came first; the rest is a browser that wants a click.
      if (error.name !== "NotAllowedError") return;
      this.wanted = false;
      this.tell.playing(false);
    }
  }

  /** Both from their first picture. */
  async again() {
    if (this.rewinding) return;
    this.rewinding = true;
    for (const video of this.videos) video.pause();
    await Promise.all(this.videos.map((video) => seek(video, 0)));
    this.rewinding = false;
    this.update();
  }

  /** The right video follows the left one: by its speed, or with a jump where it is far off. */
  keep() {
    const [left, right] = this.videos;
    if (left.paused || right.paused || right.seeking || left.seeking) return;
    const off = right.currentTime - left.currentTime;
    if (Math.abs(off) > FAR) right.currentTime = left.currentTime;
    right.playbackRate = Math.abs(off) < LOOSE ? 1 : 1 - Math.max(-MOST, Math.min(MOST, PULL * off));
  }
}

/** True when the event comes, false where one of `ends` does before. */
function happens(video, event, ends) {
  return new Promise((resolve) => {
    const stop = new AbortController();
    const listen = (name, came) => video.addEventListener(name, () => {
      stop.abort();
      resolve(came);
    }, { signal: stop.signal });
    listen(event, true);
    for (const name of ends) listen(name, false);
  });
}

async function seek(video, seconds) {
  if (video.readyState < HTMLMediaElement.HAVE_METADATA || video.currentTime === seconds) return;
  const sought = happens(video, "seeked", ["error", "emptied"]);
  video.currentTime = seconds;
  await sought;
}
