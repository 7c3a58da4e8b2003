"""The frames that all codecs of a benchmark get: 256x256 at 25 fps, with voice, landmarks and hints."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.hints import Hints
from codec_models.bitstream.timing import PICTURE, SAMPLES_PER_TICK, TICKS_PER_SECOND
from codec_models.errors import UserError
from codec_models.landmarks import POINTS, hints_of
from sender import crop as crop_module
from sender import source as source_module
from sender.crop import FaceTracker
from sender.demo_source import DemoSource
from sender.source import FileSource, SourceTick

from .progress import Progress

CACHE = Path("out") / "cache"
DEMO = "demo"
DEMO_SECONDS = 10.0
MAX_FRAMES = 60 * TICKS_PER_SECOND


@dataclass(frozen=True)
class Clip:
    """frames (N, 256, 256, 3) uint8 RGB; voice (N, 1920) int16, 48 kHz mono, the 40 ms up to each frame, as they travel
    together (`bitstream/packet.py`); points (N, 110, 2) float32 in picture fractions, NaN where no face was found.
    """

    name: str
    frames: NDArray[np.uint8]
    voice: NDArray[np.int16]
    points: NDArray[np.float32]

    @property
    def seconds(self) -> float:
        return len(self.frames) / TICKS_PER_SECOND

    @property
    def following_voice(self) -> NDArray[np.int16]:
        """(N, 1920): the 40 ms that begin with each frame; silence after the last."""
        return np.concatenate([self.voice[1:], np.zeros_like(self.voice[:1])])

    def points_at(self, tick: int) -> NDArray[np.float32] | None:
        return None if np.isnan(self.points[tick]).any() else self.points[tick]

    def hints_at(self, tick: int) -> Hints | None:
        points = self.points_at(tick)
        return None if points is None else hints_of(points)


def load_clip(source: str, limit: int | None = None) -> Clip:
    """A media file, or "demo" for ten seconds of the built-in source. limit: frames at most (60 s at the most).

    A file of 256x256 at 25 fps is taken as it is; anything else is cut by the sender's own face tracker. What the
    tracker found is kept in out/cache. Raises UserError.
    """
    count = min(limit or MAX_FRAMES, MAX_FRAMES)
    if source == DEMO:
        seconds = min(DEMO_SECONDS, count / TICKS_PER_SECOND)
        return _track(DEMO, DemoSource(seconds), count, full=False)
    ticks = FileSource(source)
    full = is_final(source)
    cached = CACHE / f"{_fingerprint(Path(source), count)}.npz"
    if cached.is_file():
        try:
            with np.load(cached) as file:
                stored = {key: file[key] for key in file.files}
            return _from_cache(Path(source).name, ticks, stored, count)
        except (OSError, ValueError, KeyError):
            cached.unlink(missing_ok=True)
    clip = _track(Path(source).name, ticks, count, full)
    CACHE.mkdir(parents=True, exist_ok=True)
    part = cached.with_suffix(f".{os.getpid()}.npz")
    # pictures that were taken as they are can be read again from the file
    stored = {"points": clip.points} if full else {"points": clip.points, "frames": clip.frames, "voice": clip.voice}
    np.savez(part, allow_pickle=False, **stored)
    part.replace(cached)
    return clip


def is_final(path: str) -> bool:
    """True for a file of 256x256 at 25 fps, whose pictures need no cropping."""
    try:
        with av.open(path, metadata_errors="ignore") as container:
            stream: Any = container.streams.video[0]
            return (stream.width, stream.height) == (PICTURE, PICTURE) and stream.average_rate == TICKS_PER_SECOND
    except (av.error.FFmpegError, ValueError, IndexError, OSError) as e:
        raise UserError(f"{path} cannot be read as video ({e}): choose a media file") from e


def _track(name: str, ticks: Iterable[SourceTick], limit: int, full: bool) -> Clip:
    frames: list[NDArray[np.uint8]] = []
    voices, points = [], []
    tracker = FaceTracker(mode="full" if full else "auto")
    length = _length(ticks, limit)
    with Progress(length, f"finding the face in {name[:40]}") as bar:
        for tick in ticks:
            if len(frames) == limit:
                break
            bar.step()
            if tick.picture is None:
                continue
            crop = tracker.update(tick.picture)
            frames.append(crop.picture)
            voices.append(tick.voice)
            points.append(crop.points if crop.points is not None else np.full((len(POINTS), 2), np.nan, np.float32))
    if not frames:
        raise UserError(f"{name} has no picture that can be decoded: choose another file")
    return Clip(name, np.stack(frames), np.stack(voices), np.stack(points))


def _from_cache(name: str, ticks: Iterable[SourceTick], stored: dict[str, NDArray[Any]], limit: int) -> Clip:
    points = stored["points"]
    if "frames" in stored:
        return Clip(name, stored["frames"], stored["voice"], points)
    frames: list[NDArray[np.uint8]] = []
    voices = []
    for tick in ticks:
        if len(frames) == limit:
            break
        if tick.picture is not None:
            frames.append(tick.picture)
            voices.append(tick.voice)
    if points.shape != (len(frames), len(POINTS), 2):
        raise ValueError("the cache does not fit the clip")
    return Clip(name, np.stack(frames), np.stack(voices).reshape(-1, SAMPLES_PER_TICK), points)


def _length(ticks: Iterable[SourceTick], limit: int) -> int:
    """How many ticks there will be, for the progress bar only."""
    if isinstance(ticks, FileSource):
        with av.open(str(ticks.path), metadata_errors="ignore") as container:
            if container.duration:
                return min(limit, int(container.duration / 1e6 * TICKS_PER_SECOND) + 1)
    elif isinstance(ticks, DemoSource) and ticks.seconds is not None:
        return min(limit, round(ticks.seconds * TICKS_PER_SECOND))
    return limit


def _fingerprint(path: Path, count: int) -> str:
    """Of the file's content and of the code that reads and crops it."""
    digest = hashlib.sha256(f"{count} {POINTS}".encode())
    for file in (path, Path(crop_module.__file__), Path(source_module.__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:24]
