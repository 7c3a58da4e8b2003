"""Records a call as fragmented mp4 (H.264 and AAC): a file from a killed process still plays up to its last second.

Both streams lie on the clock of the ticks: voice k begins at sample 1920 k, and picture k, which was taken at that
voice's end, at 40 (k + 1) ms; the first picture is shown from 0 on. A tick that is not there becomes silence and a held
picture; where the tick index jumps (the sender restarted) the recording goes on without a
gap. Encoding runs in a thread of its own behind bounded queues: when it is behind, pictures are dropped, voice is not.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from codec_models.bitstream.timing import PICTURE, SAMPLE_RATE, SAMPLES_PER_TICK, TICKS_PER_SECOND
from codec_models.errors import UserError

from .renderer import ShownPicture
from .report import check_writable

_SILENCE = np.zeros(SAMPLES_PER_TICK, np.int16)


class _GrowingFile:
    """Writes through to the disk; after a failure it swallows the rest and cuts the file back to whole fragments."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        rest = memoryview(bytes(data))
        try:
            while rest and self.error is None:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as e:
            self.error = e
        return len(data)

    def close(self) -> None:
        try:
            if self.error is not None:
                os.truncate(self._file.fileno(), whole_fragments(Path(self._file.name)))
        finally:
            self._file.close()


def whole_fragments(path: Path) -> int:
    """Length of a fragmented mp4 up to the end of its last whole fragment (ISO/IEC 14496-12, section 8.8)."""
    size, at, whole = path.stat().st_size, 0, 0
    with path.open("rb") as file:
        while at + 8 <= size:
            file.seek(at)
            length, kind = struct.unpack(">I4s", file.read(8))
            if length < 8 or at + length > size:
                break
            at += length
            if kind in (b"moov", b"mdat"):
                whole = at
    return whole


class Recorder:
    """Raises UserError at once where `path` cannot be written. The file is made when the first tick comes."""

    _MAX_GAP = 10 * TICKS_PER_SECOND
    """A longer jump of the tick index, or one backwards, is not filled."""
    _MAX_VOICE = 30 * TICKS_PER_SECOND
    _MAX_PICTURES = 8

    def __init__(self, path: Path, warn: Callable[[str], None] = lambda line: None) -> None:
        check_writable(path)
        self.path = path
        self.ticks = 0
        self.pictures = 0
        self.dropped = 0
        self._warn = warn
        self._ready = threading.Condition()
        self._queue: deque[tuple[int, int, NDArray[np.int16] | None, NDArray[np.uint8] | None]] = deque()
        self._waiting_pictures = 0
        self._stopping = False
        self._failed = False
        self._file: _GrowingFile | None = None
        self._container: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._stream: int | None = None
        self._base = 0
        self._last_picture = -1
        self._last_key = -TICKS_PER_SECOND
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def voice(self, stream: int, index: int, samples: NDArray[np.int16]) -> None:
        """Voice of a tick, (1920,) int16; before the picture of the same tick. Never blocks."""
        with self._ready:
            if len(self._queue) - self._waiting_pictures >= self._MAX_VOICE:
                self._drop(lambda item: item[2] is not None)
            self._queue.append((stream, index, samples, None))
            self._ready.notify()

    def picture(self, shown: ShownPicture) -> None:
        """Picture of a tick. Never blocks: the oldest one that waits makes room."""
        with self._ready:
            if self._waiting_pictures >= self._MAX_PICTURES:
                self._drop(lambda item: item[3] is not None)
                self._waiting_pictures -= 1
            self._queue.append((shown.stream, shown.index, None, shown.picture))
            self._waiting_pictures += 1
            self._ready.notify()

    def stop(self, timeout: float = 1.5) -> None:
        """Write what waits and close the file."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _drop(self, wanted: Callable[[Any], bool]) -> None:
        del self._queue[next(k for k, item in enumerate(self._queue) if wanted(item))]
        self.dropped += 1

    def _run(self) -> None:
        while True:
            with self._ready:
                while not (self._queue or self._stopping):
                    self._ready.wait()
                if not self._queue:
                    break
                stream, index, voice, picture = self._queue.popleft()
                self._waiting_pictures -= picture is not None
            if self._failed:
                continue
            try:
                if voice is not None:
                    self._add_voice(stream, index, voice)
                elif picture is not None:
                    self._add_picture(stream, index, picture)
                self._check()
            except (OSError, FFmpegError, ValueError) as e:
                self._fail(e)
        if not self._failed:
            try:
                self._close()
            except (OSError, FFmpegError, ValueError) as e:
                self._fail(e)

    def _open(self) -> None:
        self._file = _GrowingFile(self.path)
        flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self._container = av.open(self._file, "w", format="mp4", options=flags)
        video = self._container.add_stream("libx264", rate=TICKS_PER_SECOND)
        video.width = video.height = PICTURE
        video.pix_fmt = "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        video.options = {"preset": "veryfast", "tune": "zerolatency", "crf": "18", "threads": "1"}
        video.codec_context.gop_size = TICKS_PER_SECOND
        audio = self._container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio.bit_rate = 96_000
        self._video, self._audio = video, audio

    def _add_voice(self, stream: int, index: int, voice: NDArray[np.int16]) -> None:
        if self._container is None:
            self._open()
        at = index - self._base
        if self._stream is None or not (0 <= at - self.ticks <= self._MAX_GAP):
            if self._stream is not None and stream == self._stream and at < self.ticks:
                return
            self._base, at = index - self.ticks, self.ticks
        self._stream = stream
        while self.ticks < at:
            self._encode_voice(_SILENCE)
        self._encode_voice(voice)

    def _encode_voice(self, voice: NDArray[np.int16]) -> None:
        frame = av.AudioFrame.from_ndarray(voice[None, :SAMPLES_PER_TICK], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        frame.time_base = Fraction(1, SAMPLE_RATE)
        frame.pts = self.ticks * SAMPLES_PER_TICK
        self._container.mux(self._audio.encode(frame))
        self.ticks += 1

    def _add_picture(self, stream: int, index: int, picture: NDArray[np.uint8]) -> None:
        at = index + 1 - self._base
        if stream != self._stream or not max(self._last_picture, 0) < at <= self.ticks:
            return
        if self._last_picture < 0:
            self._encode_picture(picture, 0)
        self._encode_picture(picture, at)
        self.pictures += 1

    def _encode_picture(self, picture: NDArray[np.uint8], at: int) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = at, Fraction(1, TICKS_PER_SECOND)
        if at - self._last_key >= TICKS_PER_SECOND:
            # By time, not by count, so that a fragment is a second long even where pictures are missing.
            frame.pict_type = av.video.frame.PictureType.I
            self._last_key = at
        self._container.mux(self._video.encode(frame))
        self._last_picture = at

    def _check(self) -> None:
        if self._file is not None and self._file.error is not None:
            raise self._file.error

    def _close(self) -> None:
        if self._container is None:
            return
        for stream in (self._video, self._audio):
            self._container.mux(stream.encode(None))
        self._container.close()
        self._check()
        if self._file is not None:
            self._file.close()

    def _fail(self, error: Exception) -> None:
        """Say so once; the call goes on without a recording, and what is written stays playable."""
        self._failed = True
        reason = getattr(error, "strerror", None) or str(error)
        self._warn(f"recording stopped: cannot write {self.path} ({reason}); what is there stays playable")
        try:
            if self._container is not None:
                self._container.close()
        except (OSError, FFmpegError, ValueError):
            pass
        finally:
            if self._file is not None:
                self._file.error = self._file.error or OSError(reason)
                self._file.close()


def open_recorder(path: str | None, warn: Callable[[str], None]) -> Recorder | None:
    """A recorder for `--output`, None without one. Raises UserError where the file cannot be written or is no mp4."""
    if path is None:
        return None
    if Path(path).suffix.lower() not in (".mp4", ".m4v", ".mov"):
        raise UserError(f"recordings are mp4: give --output a name that ends in .mp4, not {path}")
    return Recorder(Path(path), warn)
