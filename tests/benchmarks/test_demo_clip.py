"""The demo face's clip: the one in the repository, the loop that it is cut from, and that a browser plays it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import av
import numpy as np
import pytest

from benchmarks import demo_clip
from benchmarks.anchors.codec import picture_of
from benchmarks.demo_clip import MAX_BYTES, SIDE, TICKS, loop, pictures
from benchmarks.metrics import psnr
from codec_models.errors import UserError
from signaling.page_files import STATIC

CLIP = STATIC / "demo.webm"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.mark.unit
def test_the_clip_has_both_streams_ten_seconds_and_the_size() -> None:
    assert 50_000 < CLIP.stat().st_size <= MAX_BYTES
    with av.open(str(CLIP)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert len(container.streams) == 2
        assert (video.codec.name, video.width, video.height) == ("vp9", SIDE, SIDE)
        assert video.average_rate == 25
        assert (audio.codec.name, audio.layout.name, audio.rate) == ("opus", "mono", 48000)
        assert container.duration is not None and abs(container.duration / 1e6 - 10) < 0.05
        frames = [picture_of(f) for f in container.decode(video)]
    assert len(frames) == TICKS
    with av.open(str(CLIP)) as container:
        sound = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    assert abs(len(sound) - 480_000) <= 960 and np.sqrt((sound**2).mean()) > 0.03
    # nobody is cut off in the middle of a word
    assert np.abs(sound[:2400]).max() < 0.02 and np.abs(sound[-2400:]).max() < 0.02
    # the step over the end is no larger than the steps before it
    steps = [float(np.sqrt(((a.astype(float) - b) ** 2).mean())) for a, b in pairwise(frames)]
    seam = float(np.sqrt(((frames[-1].astype(float) - frames[0]) ** 2).mean()))
    assert seam < np.median(steps)


@pytest.mark.unit
def test_the_loop_closes_and_the_clip_shows_it() -> None:
    acts, voice = loop()
    assert len(acts) == TICKS and voice.shape == (TICKS, 1920) and voice.dtype == np.int16
    for a, b in zip(acts, [*acts[1:], acts[0]], strict=True):
        assert abs(a[0].yaw - b[0].yaw) < 0.03 and abs(a[0].across - b[0].across) < 0.5
    for a, b in zip(acts[-6:], [*acts[-5:], acts[0]], strict=True):
        assert abs(a[1].open - b[1].open) < 0.1
    drawn = list(pictures(acts[:3]))
    with av.open(str(CLIP)) as container:
        shown = [picture_of(f) for f, _ in zip(container.decode(video=0), range(3), strict=False)]
    assert psnr(np.stack(drawn), np.stack(shown)) > 32


@pytest.mark.unit
def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts, voice = loop()
    monkeypatch.setattr(demo_clip, "loop", lambda seed: (acts[:5], voice[:5]))
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match="cannot be written"):
        demo_clip.main([str(tmp_path / "file" / "demo.webm")])
    assert demo_clip.main([str(tmp_path / "demo.webm")]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["demo.webm", "file"]


class Page(BaseHTTPRequestHandler):
    """An empty page and the clip."""

    def do_GET(self) -> None:
        clip = self.path == "/demo.webm"
        body = CLIP.read_bytes() if clip else b"<!doctype html><title>clip</title><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("Content-Type", "video/webm" if clip else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


PLAY = """async () => {
  const video = document.createElement("video");
  Object.assign(video, { src: "demo.webm", loop: true });
  document.body.append(video);
  const context = new AudioContext();
  const meter = context.createAnalyser();
  context.createMediaElementSource(video).connect(meter).connect(context.destination);
  window.loud = 0;
  window.wraps = 0;
  let last = 0;
  setInterval(() => {
    const samples = new Float32Array(meter.fftSize);
    meter.getFloatTimeDomainData(samples);
    window.loud = Math.max(window.loud, ...samples.map(Math.abs));
    if (video.currentTime < last) window.wraps += 1;
    last = video.currentTime;
  }, 20);
  await video.play();
  video.currentTime = 8;
  return [video.videoWidth, video.videoHeight, video.duration];
}"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_plays_it_with_sound_and_over_again(address: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        flags = [*FLAGS, "--autoplay-policy=no-user-gesture-required"]
        browser = p.chromium.launch(executable_path=CHROMIUM, args=flags)
        tab = browser.new_page()
        tab.goto(address)
        width, height, seconds = tab.evaluate(PLAY)
        assert (width, height) == (SIDE, SIDE) and seconds == pytest.approx(10, abs=0.05)
        end = time.monotonic() + 30
        condition = "loud > 0.1 && wraps === 1 && document.querySelector('video').currentTime > 1"
        while not tab.evaluate(condition):
            assert time.monotonic() < end, tab.evaluate("[loud, wraps, document.querySelector('video').currentTime]")
            time.sleep(0.05)
        dropped, total = tab.evaluate(
            "(() => { const q = document.querySelector('video').getVideoPlaybackQuality();"
            "return [q.droppedVideoFrames, q.totalVideoFrames]; })()"
        )
        assert total > 20 and dropped < total / 2
        browser.close()
