"""The built-in source: a portrait that talks, without a camera, a microphone or any footage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from codec_models.bitstream.timing import TICKS_PER_SECOND

from .demo_face import DemoFace, Expression, Pose
from .demo_voice import DemoVoice, Mouth
from .source import SourceTick


class DemoSource:
    """Ticks of the animated portrait, 512x512; deterministic: a function of the seed and the tick index.

    seconds: length, or None for an endless source. Every iteration starts again at tick 0.
    """

    live = False

    def __init__(self, seconds: float | None = None, seed: int = 1) -> None:
        self.seconds = seconds
        self.seed = seed
        self._face = DemoFace()

    def __iter__(self) -> Iterator[SourceTick]:
        voice, actor = DemoVoice(self.seed), Actor(self.seed)
        ticks = None if self.seconds is None else round(self.seconds * TICKS_PER_SECOND)
        index = 0
        while ticks is None or index < ticks:
            samples, mouth = voice.tick()
            picture = self._face.render(*actor.play(index, mouth))
            yield SourceTick(picture, samples, index)
            index += 1


@dataclass(slots=True)
class _Mood:
    """What moves slowly: all between 0 and 1, but for the gaze in portrait pixels."""

    speaking: float = 0.0
    stress: float = 0.0
    smile: float = 1.0
    teeth: float = 1.0
    look: tuple[float, float] = (0.0, 0.0)


class Actor:
    """Head, eyes and brows that go with the mouth."""

    _BLINK = (0.35, 0.95, 1.0, 0.7, 0.3, 0.08)  # closing of the lids, tick by tick

    def __init__(self, seed: int) -> None:
        self._rng: Generator = np.random.default_rng([seed, 2])
        self._waves = self._rng.uniform(0, 2 * math.pi, (6, 3))
        self._mood = _Mood()
        self._next_blink = 45
        self._next_look = 30
        self._aim = (0.0, 0.0)
        self._was_speaking = False
        self._pauses = 0

    def play(self, index: int, mouth: Mouth) -> tuple[Pose, Expression]:
        """Pose and expression at the end of tick `index`; called once for every tick in order."""
        mood, time = self._mood, index / TICKS_PER_SECOND
        self._decide(index, mouth)
        mood.speaking += 0.12 * (mouth.speaking - mood.speaking)
        mood.stress += 0.30 * (mouth.stress - mood.stress)
        mood.smile += 0.10 * ((0.25 if mouth.speaking else 0.9) - mood.smile)
        # in some pauses, and at the start, a smile shows the teeth
        shown = 0.0 if mouth.speaking or self._pauses % 3 else 1.0
        mood.teeth += (0.35 if mouth.speaking else 0.15) * (shown - mood.teeth)
        mood.look = tuple(a + 0.6 * (b - a) for a, b in zip(mood.look, self._aim, strict=True))  # type: ignore[assignment]
        lively = 0.55 + 0.45 * mood.speaking
        turn = self._wave(0, time, 5.3, 3.1)
        pose = Pose(
            yaw=0.11 * lively * turn + 0.012 * mood.look[0],
            pitch=0.040 * lively * self._wave(1, time, 4.1, 2.3) + 0.045 * mood.stress,
            roll=0.028 * lively * self._wave(2, time, 6.7, 3.7),
            across=2.2 * self._wave(3, time, 7.9, 5.0),
            down=0.8 * self._wave(4, time, 6.1, 3.3),
            nearer=0.008 * self._wave(5, time, 9.7, 6.0),
            breath=0.6 * math.sin(2 * math.pi * time / 4.2),
        )
        since = index - self._next_blink
        expression = Expression(
            open=max(0.92 * mouth.open, 0.42 * mood.teeth),
            width=mouth.width,
            smile=mood.smile,
            blink=self._BLINK[since] if 0 <= since < len(self._BLINK) else 0.0,
            brows=0.9 * mood.stress * mood.speaking - 0.25 * (1 - mood.smile) + 0.15 * turn,
            gaze=mood.look,
        )
        return pose, expression

    def _decide(self, index: int, mouth: Mouth) -> None:
        """When to blink next, where to look next."""
        if index >= self._next_blink + len(self._BLINK):
            self._next_blink = index + int(self._rng.integers(45, 125))
        if self._was_speaking and not mouth.speaking:
            self._pauses += 1
        self._was_speaking = mouth.speaking
        if index >= self._next_look:
            self._next_look = index + int(self._rng.integers(20, 70))
            away = float(self._rng.uniform()) < 0.45
            aside = float(self._rng.uniform(-1.6, 1.6)), float(self._rng.uniform(-0.5, 0.6))
            self._aim = aside if away else (0.0, 0.0)

    def _wave(self, which: int, time: float, slow: float, fast: float) -> float:
        """A smooth wandering between about -1 and 1; slow and fast are periods in seconds."""
        a, b, c = self._waves[which]
        wave = math.sin(2 * math.pi * time / slow + a) + 0.5 * math.sin(2 * math.pi * time / fast + b)
        return float(0.6 * wave + 0.2 * math.sin(2 * math.pi * time / (1.7 * slow) + c))
