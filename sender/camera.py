"""Camera and microphone as a source. The picture comes through OpenCV, the sound through FFmpeg's devices."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import cv2
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK, TICK_MS
from codec_models.errors import UserError

from .quiet import quiet_stderr
from .source import SourceTick, silence, warn

_TICK = TICK_MS / 1000
_DEVICES = {
    "linux": (("pulse", "default"), ("alsa", "default")),
    "darwin": (("avfoundation", ":default"), ("avfoundation", ":0")),
    "win32": (("dshow", "audio=default"),),
}


class VoiceBuffer:
    """Samples from a microphone to ticks, without drift. Thread-safe.

    The microphone's clock is not the wall clock: what it delivers too fast or too slow gathers or runs out here.
    Beyond `high` ticks the oldest samples are dropped down to `aim` ticks; where too few are there, silence is put in
    and the buffer fills up to `aim` again first. Both cuts are faded over 2 ms so that they do not click.
    """

    _FADE = 96

    def __init__(self, aim: float = 1.0, high: float = 3.0) -> None:
        self._aim, self._high = round(aim * SAMPLES_PER_TICK), round(high * SAMPLES_PER_TICK)
        self._samples = np.zeros(0, np.int16)
        self._filling = True
        self._lock = threading.Lock()
        self.dropped = 0
        self.inserted = 0

    def __len__(self) -> int:
        return int(self._samples.size)

    def put(self, samples: NDArray[np.int16]) -> None:
        """Add what the microphone delivered, (n,) int16 at 48 kHz."""
        with self._lock:
            self._samples = np.concatenate([self._samples, samples[-2 * self._high :]])
            over = self._samples.size - self._high
            if over > 0:
                drop = over + self._high - self._aim
                self.dropped += drop
                before, after = self._samples[:drop], self._samples[drop:].copy()
                n = min(self._FADE, after.size, before.size)
                ramp = np.linspace(0, 1, n)
                after[:n] = (before[:n] * (1 - ramp) + after[:n] * ramp).astype(np.int16)
                self._samples = after

    def take(self) -> NDArray[np.int16]:
        """One tick, (1920,) int16."""
        with self._lock:
            if self._filling and self._samples.size < self._aim + SAMPLES_PER_TICK:
                self.inserted += SAMPLES_PER_TICK
                return silence()
            part, self._samples = self._samples[:SAMPLES_PER_TICK], self._samples[SAMPLES_PER_TICK:]
            if part.size == SAMPLES_PER_TICK:
                out = part.copy()
                if self._filling:
                    out[: self._FADE] = (out[: self._FADE] * np.linspace(0, 1, self._FADE)).astype(np.int16)
                self._filling = False
                return out
            # run dry: fade what is left into silence
            out = silence()
            out[: part.size] = part
            n = min(self._FADE, part.size)
            out[part.size - n : part.size] = (part[part.size - n :] * np.linspace(1, 0, n)).astype(np.int16)
            self.inserted += SAMPLES_PER_TICK - part.size
            self._filling = True
            return out


class CameraSource:
    """Live ticks of camera number `number` and the default microphone; paced by the wall clock, never ends.

    Each iteration step returns at the end of its tick with the newest picture. When the caller is late, ticks are left
    out and the index jumps. Raises UserError at once when there is no such camera. Without a microphone there is
    silence and one warning.
    """

    live = True

    def __init__(self, number: int = 0, on_warning: Callable[[str], None] = warn) -> None:
        self._camera = _open_camera(number)
        self._frame: NDArray[np.uint8] | None = None
        self._frame_at = time.monotonic()
        self._closed = threading.Event()
        self._voice = VoiceBuffer()
        self._warn = on_warning
        self._threads = [threading.Thread(target=self._watch, name="camera", daemon=True)]
        microphone = _open_microphone()
        if microphone is None:
            on_warning("no microphone found, sending silence")
        else:
            self._threads.append(
                threading.Thread(target=self._listen, args=(microphone,), name="microphone", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[SourceTick]:
        start = time.monotonic()
        index = 0
        while not self._closed.is_set():
            wait = start + (index + 1) * _TICK - time.monotonic()
            if wait > 0 and self._closed.wait(wait):
                return
            yield SourceTick(self._picture(), self._voice.take(), index)
            index += 1
            behind = int((time.monotonic() - start) / _TICK) - index
            if behind > 1:
                for _ in range(min(behind, 5)):
                    self._voice.take()
                index += behind

    def close(self) -> None:
        """Let go of the devices, within a second."""
        self._closed.set()
        for thread in self._threads:
            thread.join(timeout=0.4)

    def _picture(self) -> NDArray[np.uint8] | None:
        """The newest picture, or None when the camera has stopped delivering."""
        frame = self._frame
        if frame is None or time.monotonic() - self._frame_at > 1:
            return None
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)

    def _watch(self) -> None:
        failures = 0
        while not self._closed.is_set():
            good, frame = self._camera.read()
            if good and frame is not None:
                self._frame, self._frame_at, failures = np.asarray(frame, np.uint8), time.monotonic(), 0
                continue
            failures += 1
            if failures == 50:
                self._warn("the camera delivers no more pictures: is it unplugged or used by another program?")
            self._closed.wait(0.02 if failures < 50 else 0.5)
        self._camera.release()

    def _listen(self, microphone: Any) -> None:
        resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        try:
            for frame in microphone.decode(audio=0):
                if self._closed.is_set():
                    break
                frame.pts = None
                for piece in resampler.resample(frame):
                    assert isinstance(piece, AudioFrame)
                    self._voice.put(np.asarray(piece.to_ndarray(), np.int16).reshape(-1))
        except (av.error.FFmpegError, ValueError):
            if not self._closed.is_set():
                self._warn("the microphone has stopped, sending silence")
        finally:
            microphone.close()


def _open_camera(number: int) -> cv2.VideoCapture:
    """The camera, with a first picture read. Raises UserError; gives up after 8 seconds."""
    result: queue.Queue[cv2.VideoCapture | None] = queue.Queue()

    def attempt() -> None:
        camera = cv2.VideoCapture(number)
        if not camera.isOpened():
            result.put(None)
            return
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, 1280)
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, 720)
        camera.set(cv2.CAP_PROP_FPS, 30)
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        good, _ = camera.read()
        result.put(camera if good else None)

    with quiet_stderr():
        threading.Thread(target=attempt, daemon=True).start()
        try:
            camera = result.get(timeout=8)
        except queue.Empty:
            camera = None
    if camera is None:
        raise UserError(f"no camera number {number}: plug one in, choose another (camera:N), or use --source demo")
    return camera


def _open_microphone() -> Any:
    """An input container of the default microphone, or None."""
    platform = "linux" if sys.platform.startswith("linux") else sys.platform
    for device, name in _DEVICES.get(platform, ()):
        try:
            with quiet_stderr():  # ALSA's own library complains by itself
                return av.open(name, format=device, timeout=(3.0, 3.0))
        except (av.error.FFmpegError, ValueError, OSError):
            continue
    return None
