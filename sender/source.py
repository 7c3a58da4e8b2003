"""Where ticks come from: the common item, and media files.

A source is an iterable of `SourceTick`. Iterating is unpaced; the sender's main loop keeps the wall clock.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK, TICK_MS
from codec_models.errors import UserError

MAX_SIDE = 8192
"""Pictures with a longer side are refused."""
_AHEAD_S = 10.0
_AHEAD_BYTES = 200_000_000
"""How much of one stream is kept while the other one is looked for: bounds the memory of badly interleaved files."""
_LARGE = 1920
"""Pictures with a longer side are shrunk to it: the crop is 256x256 in the end."""
_TICK_S = TICK_MS / 1000


@dataclass(frozen=True, slots=True)
class SourceTick:
    """40 ms of capture. voice (1920,) int16, 48 kHz mono; picture (H, W, 3) uint8 RGB at the voice's end, or None when
    the camera has none; index counts from 0.
    """

    picture: NDArray[np.uint8] | None
    voice: NDArray[np.int16]
    index: int


class Source(Protocol):
    """An iterable of ticks; `live` sources follow the wall clock by themselves and never end."""

    @property
    def live(self) -> bool: ...

    def __iter__(self) -> Iterator[SourceTick]: ...


def warn(line: str) -> None:
    """One plain line for the user on stderr."""
    print(f"warning: {line}", file=sys.stderr, flush=True)


def silence() -> NDArray[np.int16]:
    """One tick of silence, (1920,) int16."""
    return np.zeros(SAMPLES_PER_TICK, np.int16)


class FileSource:
    """Ticks of a media file that PyAV reads: voice at 48 kHz mono, with the picture nearest to each tick's end.

    loop: start again at the end, for ever. Raises UserError when the file is missing, is no media file, or has no
    video. A file without sound gives silence and one warning. What does not decode is skipped.
    """

    live = False

    def __init__(self, path: str | Path, loop: bool = False, on_warning: Callable[[str], None] = warn) -> None:
        self.path = Path(path)
        self.loop = loop
        if not self.path.is_file():
            raise UserError(f"no file at {self.path}: check the path, or use --source demo")
        with _open(self.path) as container:
            if not container.streams.video:
                raise UserError(f"{self.path} has no video: choose a file with a picture of the speaker")
            self.has_voice = bool(container.streams.audio)
        if not self.has_voice:
            on_warning(f"{self.path.name} has no sound, sending silence")

    def __iter__(self) -> Iterator[SourceTick]:
        index = 0
        while True:
            before = index
            for picture, voice in _Reader(self.path):
                yield SourceTick(picture, voice, index)
                index += 1
            if index == before:
                raise UserError(f"nothing in {self.path} can be decoded: the file is damaged, try another one")
            if not self.loop:
                return


def _open(path: Path) -> Any:
    try:
        return av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError, OSError) as e:
        raise UserError(f"{path} cannot be read as video or sound ({e}): choose a media file") from e


class _Reader:
    """One pass over a file, tick by tick, holding no more than a few seconds of either stream."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pictures: deque[tuple[float, VideoFrame]] = deque()
        self._voice: list[NDArray[np.int16]] = []
        self._voice_start = 0.0
        self._voice_samples = 0
        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        self._start = 0.0
        self._frame_s = _TICK_S
        self._most_pictures = 1000
        self._last_time = -1.0

    def __iter__(self) -> Iterator[tuple[NDArray[np.uint8] | None, NDArray[np.int16]]]:
        with _open(self._path) as container:
            yield from self._ticks(container)

    def _ticks(self, container: Any) -> Iterator[tuple[NDArray[np.uint8] | None, NDArray[np.int16]]]:
        video = container.streams.video[0]
        audio = container.streams.audio[0] if container.streams.audio else None
        video.thread_type = "AUTO"
        # the earliest of the two streams is time 0, so that both keep their offset
        streams = [s for s in (video, audio) if s is not None]
        starts = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None]
        self._start = min(starts, default=0.0)
        rate = video.average_rate or Fraction(25)
        self._frame_s = float(1 / rate) if rate > 0 else _TICK_S
        packets = self._demux(container, streams)
        tick, shown, shown_at, ended = 0, None, None, False
        while True:
            start = tick * _TICK_S
            time = start + _TICK_S  # the picture's
            while not ended and not self._ready(time, audio is not None):
                try:
                    packet = next(packets)
                except StopIteration:
                    ended = True
                    self._decode(None)
                else:
                    self._decode(packet)
            while len(self._pictures) > 1 and abs(self._pictures[1][0] - time) <= abs(self._pictures[0][0] - time):
                self._pictures.popleft()
            if ended and self._over(start):
                return
            if self._pictures and self._pictures[0][1] is not shown_at:
                shown_at = self._pictures[0][1]
                shown = _rgb(shown_at)
            yield shown, self._take_voice(tick)
            tick += 1

    def _demux(self, container: Any, streams: list[Any]) -> Iterator[Any]:
        """Packets until the end; a damaged place is stepped over, unless nothing good follows."""
        failures = 0
        packets = container.demux(streams)
        while failures < 100:
            try:
                yield next(packets)
                failures = 0
            except StopIteration:
                return
            except (av.error.FFmpegError, ValueError):
                failures += 1
                packets = container.demux(streams)

    def _decode(self, packet: Any) -> None:
        """Decode one packet, or flush at the end (None); what is damaged is dropped."""
        if packet is None:
            self._keep_voice(None)
            return
        try:
            frames = packet.decode()
        except (av.error.FFmpegError, ValueError):
            return
        for frame in frames:
            if isinstance(frame, VideoFrame):
                self._keep_picture(frame)
            elif isinstance(frame, AudioFrame):
                self._keep_voice(frame)

    def _keep_picture(self, frame: VideoFrame) -> None:
        if max(frame.width, frame.height) > MAX_SIDE:
            return
        time = frame.time - self._start if frame.time is not None else self._last_time + self._frame_s
        if time <= self._last_time:
            return
        self._last_time = time
        self._pictures.append((time, frame))
        size = _AHEAD_BYTES / (1.5 * frame.width * frame.height)
        self._most_pictures = max(8, int(min(size, _AHEAD_S / self._frame_s)))
        if len(self._pictures) > self._most_pictures:
            self._pictures.popleft()

    def _keep_voice(self, frame: AudioFrame | None) -> None:
        if frame is not None and frame.time is not None:
            time = frame.time - self._start
            held = self._voice_start + self._voice_samples / SAMPLE_RATE
            if not self._voice_samples:
                self._voice_start = max(time, 0.0)
            elif time - held > _TICK_S:  # a damaged stretch: keep what follows where it belongs
                gap = np.zeros(min(int((time - held) * SAMPLE_RATE), int(_AHEAD_S * SAMPLE_RATE)), np.int16)
                self._voice.append(gap)
                self._voice_samples += gap.size
        if frame is not None:
            frame.pts = None
        try:
            pieces = self._resampler.resample(frame)
        except (av.error.FFmpegError, ValueError):
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
            return
        for piece in pieces:
            samples = np.asarray(piece.to_ndarray(), np.int16).reshape(-1)
            self._voice.append(samples)
            self._voice_samples += samples.size

    def _voice_end(self) -> float:
        return self._voice_start + self._voice_samples / SAMPLE_RATE

    def _ready(self, time: float, has_voice: bool) -> bool:
        """True when the tick that ends at `time` can be cut: a picture at or after that, and its 40 ms of voice.

        A stream that lags too far behind the other one is not waited for.
        """
        picture = bool(self._pictures) and self._pictures[-1][0] >= time
        voice = not has_voice or self._voice_end() >= time
        if picture and (voice or len(self._pictures) >= self._most_pictures):
            return True
        newest = max(self._pictures[-1][0] if self._pictures else 0.0, self._voice_end())
        return newest > time + _AHEAD_S

    def _over(self, time: float) -> bool:
        pictures_end = self._last_time + self._frame_s
        return time >= max(pictures_end, self._voice_end()) - 1e-6 or self._last_time < 0

    def _take_voice(self, tick: int) -> NDArray[np.int16]:
        """Samples of the tick; silence where the file has none."""
        out = silence()
        begin = tick * SAMPLES_PER_TICK - round(self._voice_start * SAMPLE_RATE)
        skip = max(0, -begin)
        want = SAMPLES_PER_TICK - skip
        if want <= 0 or not self._voice:
            return out
        joined = self._voice[0] if len(self._voice) == 1 else np.concatenate(self._voice)
        part = joined[:want]
        out[skip : skip + part.size] = part
        self._voice = [joined[part.size :]]
        # what was taken moves the start of what is held
        self._voice_start += part.size / SAMPLE_RATE
        self._voice_samples -= part.size
        return out


def _rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    """The picture upright, (H, W, 3), at most 1920 pixels long."""
    shrink = min(1.0, _LARGE / max(frame.width, frame.height))
    size = max(2, round(frame.width * shrink)), max(2, round(frame.height * shrink))
    picture = frame.reformat(*size, format="rgb24").to_ndarray()
    # phones store the picture lying and the angle beside it, in degrees counterclockwise
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, turns), np.uint8)
