"""A stream at 5 fps filled up to 25 fps tick by tick, as a call needs it, by `interpolation.Interpolation`.

Look-ahead 0: a tick is predicted from the frames that are there and put right when the next one comes. Look-ahead 1:
what comes out is older by one interval, so that the next frame is known. A stream at 25 fps passes through untouched
and undelayed.

A frame is 5 ticks after the one before it, or 10 where one was lost; one that comes late, by redundancy, is given back
its true place, a multiple of 5 ticks from the others.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bitstream.face import FaceTick
from .bitstream.prior import HINTS
from .engines.engine import Arrays, Engine
from .held_hints import HeldHints

FRAMES = 5
"""Received frames that are looked at together."""
INTERVAL = 5
"""Ticks between two frames at 5 fps."""

_EASE = (0.5, 0.25)
"""What is left, in the tick in which a frame comes and those after it, of the step from what had been predicted for it:
without look-ahead that step would be seen five times a second."""
_KEYS = ("frames", "times", "key_hints", "key_has")
_MISPLACED = 3
"""Frames in a row off the rhythm, after which theirs is the new one."""


@dataclass(frozen=True, slots=True)
class _Frame:
    time: int
    picture: NDArray[np.uint8]
    hints: NDArray[np.float32]
    known: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    face: FaceTick
    hints: NDArray[np.float32]
    known: float


class SlowStream:
    """Stateful: `push` every tick, in order. Raises UserError where the engine's weights cannot be used.

    engine: runs the networks `interpolation_encode` and `interpolation_at` (`interpolation.py`). lookahead: frames,
    0 or 1. fps: of the stream, 5 or 25 as the sender says, or None: then it is a slow one once a frame has come 5
    ticks or a multiple of that after the one before, none ever having come sooner.
    """

    def __init__(self, engine: Engine, lookahead: int = 0, fps: int | None = None) -> None:
        if lookahead not in (0, 1):
            raise ValueError(f"a look-ahead of {lookahead} frames: 0 or 1")
        self.lookahead, self.fps = lookahead, fps
        self._engine = engine
        # the first use is slow
        self.window(np.full((FRAMES, 8, 8, 3), 128, np.uint8))
        self.reset()

    def reset(self) -> None:
        """Another stream starts; its fps is as told before."""
        self._tick = -1
        self._frames: deque[_Frame] = deque(maxlen=FRAMES)
        self._keys: Arrays | None = None
        self._hints = HeldHints()
        self._step: NDArray[np.float32] | None = None
        self._stepped = 0
        self._recent: deque[_Waiting] = deque(maxlen=INTERVAL)
        self._waiting: deque[_Waiting] = deque()
        self._sooner = self._slow = False
        self._misplaced = 0

    @property
    def slow(self) -> bool:
        """Whether the stream is one at 5 fps, as far as is known."""
        return self.fps == 5 if self.fps is not None else self._slow and not self._sooner

    @property
    def delay(self) -> int:
        """Ticks by which what comes out is older than what went in."""
        return INTERVAL * self.lookahead if self.slow else 0

    def push(self, face: FaceTick) -> FaceTick | None:
        """The tick `delay` ticks before this one, its picture filled in; None where there is none yet.

        When the delay grows, ticks come out None until it has; when it shrinks, those that waited are left out.
        """
        self._tick += 1
        self._hints.push(face)
        now = _Waiting(face, self._hints.values, self._hints.known)
        self._recent.append(now)
        self._waiting.append(now)
        if face.picture is not None:
            self._received(face.picture)
        delay = self.delay
        if len(self._waiting) <= delay:
            return None
        while len(self._waiting) > delay + 1:
            self._waiting.popleft()
        out = self._waiting.popleft()
        if not self.slow or self._keys is None:
            return out.face
        made = self._at(self._keys, self._tick - delay, out.hints, out.known)
        if self._step is not None:
            made = made + self._step * _EASE[self._stepped]
            self._stepped += 1
            if self._stepped == len(_EASE):
                self._step = None
        return dataclasses.replace(out.face, picture=np.asarray(made.clip(0, 255).round(), np.uint8))

    def _received(self, picture: NDArray[np.uint8]) -> None:
        time = self._tick
        if self._frames:
            since = time - self._frames[-1].time
            off = since % INTERVAL
            self._slow = self._slow or since >= INTERVAL
            self._sooner = self._sooner or since < INTERVAL - 1
            if off and since > off and self._misplaced < _MISPLACED:
                self._misplaced += 1
                time -= off
            else:
                self._misplaced = 0
        then = self._recent[time - self._tick - 1]
        self._frames.append(_Frame(time, picture, then.hints, then.known))
        old, self._keys = self._keys, self._encoded() if self.slow else None
        if old is not None and self._keys is not None and not self.lookahead:
            now = self._recent[-1]
            told = self._tick, now.hints, now.known
            self._step = self._at(old, *told) - self._at(self._keys, *told)
            self._stepped = 0

    def _encoded(self) -> Arrays:
        # a stream begins as if its first frame had stood before
        first, missing = self._frames[0], FRAMES - len(self._frames)
        before = [dataclasses.replace(first, time=first.time - INTERVAL * k) for k in range(missing, 0, -1)]
        frames = [*before, *self._frames]
        return self._encode(
            np.stack([f.picture for f in frames]),
            np.array([f.time for f in frames]),
            np.stack([f.hints for f in frames]),
            np.array([f.known for f in frames]),
        )

    def _encode(self, pictures: NDArray[np.uint8], *told: NDArray[Any]) -> Arrays:
        """Five frames (5, 8, 8, 3), their times, hints and whether those are given -> with the features of all."""
        values = (pictures.transpose(0, 3, 1, 2) / np.float32(127.5) - 1, *told)
        keys = {name: self._array(v) for name, v in zip(_KEYS, values, strict=True)}
        return {**keys, **self._engine.run("interpolation_encode", keys)}

    def _at(self, keys: Arrays, time: float, hints: NDArray[np.float32], known: float) -> NDArray[np.float32]:
        """(8, 8, 3), 0 to 255. time: in ticks."""
        asked = {"at": np.array([time]), "hints": hints[None], "has": np.array([known])}
        made = self._engine.run("interpolation_at", {**keys, **{name: self._array(v) for name, v in asked.items()}})
        low = self._engine.numpy(made["low"])[0, 0].transpose(1, 2, 0)
        return np.asarray(((low + 1) * 127.5).clip(0, 255), np.float32)

    def _array(self, values: NDArray[Any]) -> Any:
        return self._engine.array(np.ascontiguousarray(values, np.float32)[None])

    def window(self, frames: NDArray[np.uint8], hints: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The paper's form: frames (5, 8, 8, 3) RGB and the raw hints (25, 12) of all ticks -> (25, 8, 8, 3), 0 to 255.

        Frame k is at tick 5 k; the last four ticks come after the last frame. Keeps no state.
        """
        count = FRAMES * INTERVAL
        known = float(hints is not None)
        told = np.zeros((count, HINTS), np.float32) if hints is None else np.asarray(hints, np.float32)
        at = slice(None, None, INTERVAL)
        keys = self._encode(frames, np.arange(count)[at], told[at], np.full(FRAMES, known))
        return np.stack([self._at(keys, tick, told[tick], known) for tick in range(count)])
