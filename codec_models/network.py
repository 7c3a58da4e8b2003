"""The trained networks in a call: the still is encoded when it comes, then one picture is drawn a tick by the
upsampler, and its mouth restored by the teeth stage. The runtime that computes them is an `engines.engine.Engine`.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bitstream.face import FaceTick, area_8x8
from .bitstream.hints import Hints
from .bitstream.still import IdentityStill
from .bitstream.timing import SAMPLES_PER_TICK
from .engines.engine import Array, Arrays, Engine
from .held_hints import HeldHints
from .mel import BANDS, FLOOR, ROWS, LogMel, normalised
from .reconstruction import enlarge
from .still_choice import DEFAULT_CHOICE, ChoiceConfig, Fade, Look, choose
from .teeth_stage import Reference, TeethStage

WINDOW = 5
"""T: 8x8 frames up to the current one."""
MAX_STILLS = 8
"""Stills that are kept; the oldest goes."""
_HINTS = [f.name for f in fields(Hints)]
_YAW, _PITCH = (_HINTS.index(name) for name in ("head_yaw", "head_pitch"))


@dataclass(slots=True)
class StreamState:
    """All that a stream remembers. window: the last T 8x8 frames, newest last, (3, 8, 8) in [-1, 1]; rows: the last 16
    log-mel rows (16, 80), log10 power.
    """

    window: deque[NDArray[np.float32]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    rows: NDArray[np.float32] = field(default_factory=lambda: np.full((ROWS, BANDS), FLOOR, np.float32))
    hints: HeldHints = field(default_factory=HeldHints)
    log_mel: LogMel = field(default_factory=LogMel)

    def push(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        """Take in a tick. A missing frame holds the last one, a window that is not full yet holds its first."""
        if face.picture is not None:
            frame = _unit(face.picture)
            self.window.extend([frame] * (1 if self.window else WINDOW))
        elif self.window:
            self.window.append(self.window[-1])
        samples = np.zeros(SAMPLES_PER_TICK, np.int16) if voice is None else voice
        rows = self.log_mel.push(samples)
        self.rows = np.concatenate([self.rows[len(rows) :], rows])
        self.hints.push(face)


@dataclass(frozen=True, slots=True)
class _Still:
    """What is kept of a still. identity: of the network `still`; reference: of the teeth stage, where there is one and
    the still has landmarks.
    """

    identity: Arrays
    look: Look
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A tick, arrays of the engine. upsampled, picture: before and after the teeth stage, (1, 3, 256, 256) in about
    [-1, 1], the same one without the stage; points: predicted landmarks (1, 110, 2) in [-1, 1].
    """

    upsampled: Array
    picture: Array
    points: Array


class NetworkReconstructor:
    """Reconstructor (see `codec_models.reconstruction`) with the upsampler and the teeth stage on any runtime.

    stills: how many of the received stills are used at once, those nearest to the current tick, 1 to 3; more than one
    only where the engine can. teeth: whether the mouth is restored. choice: how they are chosen. Raises UserError where
    the engine's weights cannot be used, ValueError on another number of stills.

    Before the first still, the enlarged 8x8 frame is shown; before the first frame, the still itself. A still without
    landmarks works, with rough motion.
    """

    delay = 0
    fps: int | None = None

    def __init__(
        self, engine: Engine, stills: int = 1, teeth: bool = True, choice: ChoiceConfig = DEFAULT_CHOICE
    ) -> None:
        if not 1 <= stills <= 3 or (stills > 1 and not engine.several):
            raise ValueError(f"{stills} stills at once: 1 to {3 if engine.several else 1} with {engine.backend}")
        self.engine = engine
        self.device = engine.device
        self.backend = engine.backend + (" + teeth" if teeth else "")
        self._stills, self._choice = stills, choice
        self.teeth = TeethStage(engine) if teeth else None
        self._identities: deque[_Still] = deque(maxlen=MAX_STILLS)
        self._newest: NDArray[np.uint8] | None = None
        self._chosen: Arrays | None = None
        self._used: list[Look] = []
        self._fade = Fade(choice.fade)
        self.spent: dict[str, float] = {}
        self.reset()
        self._warm_up()

    def reset(self) -> None:
        self._state = StreamState()
        self._chosen, self._used = None, []
        self._fade.reset()
        if self.teeth is not None:
            self.teeth.reset()

    def _warm_up(self) -> None:
        """The first still and tick choose kernels and fetch memory, which a call should not wait for."""
        grey = np.full((256, 256, 3), 128, np.uint8)
        angle = np.linspace(0, 2 * np.pi, 110, endpoint=False, dtype=np.float32)
        face = np.asarray(np.stack([np.cos(angle), np.sin(angle)], 1) / 4 + 0.5, np.float32)
        for points in (None, face):
            self.set_identity(IdentityStill(grey, points))
        for _ in range(2):
            self.tick(FaceTick(grey[:8, :8], None), np.zeros(SAMPLES_PER_TICK, np.int16))
        self._identities.clear()
        self._newest = None
        if self.teeth is not None:
            self.teeth.use(())
        self.reset()

    def set_identity(self, still: IdentityStill) -> None:
        """Encodes the still: about the work of a tick."""
        low = _unit(area_8x8(still.picture))
        picture = self._array(_unit(still.picture))
        has = still.points is not None
        points = self._array(still.points * 2 - 1 if still.points is not None else np.zeros((110, 2)))
        identity = self.engine.run(
            "still",
            {"picture": picture, "low": self._array(low), "points": points, "has_points": self._array(np.full(1, has))},
        )
        # guessed landmarks are too rough to say where the mouth is
        reference = self.teeth.remember(picture, points) if self.teeth is not None and has else None
        # a still that comes again, after a reconnect, takes its own place
        others = [known for known in self._identities if not np.array_equal(known.look.low, low)]
        self._identities = deque([*others, _Still(identity, Look.of_still(low, still.points), reference)], MAX_STILLS)
        if self.teeth is not None:
            self.teeth.use([known.reference for known in self._identities if known.reference is not None])
        self._newest = still.picture

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        self._state.push(face, voice)

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        drawn = self.draw(face, voice)
        window = self._state.window
        if drawn is not None:
            return self._fade.mixed(self.engine.shown(drawn.picture), window[-1])
        if window:
            return _bytes(enlarge(np.ascontiguousarray(window[-1].transpose(1, 2, 0))))
        return np.full((256, 256, 3), 128, np.uint8) if self._newest is None else self._newest.copy()

    def draw(self, face: FaceTick, voice: NDArray[np.int16] | None) -> Drawn | None:
        """`tick` with what its picture is made of; None where a still or a first frame is missing."""
        began = time.perf_counter()
        self.spent = {}
        state = self._state
        state.push(face, voice)
        identity = self._choose(state.window[-1]) if state.window else None
        if identity is None:
            return None
        has = np.array([state.hints.known, voice is not None])
        given: dict[str, NDArray[Any]] = {
            "window": np.stack(state.window),
            "mel": normalised(state.rows).T,
            "hints": state.hints.values,
            "has": has,
        }
        made = self.engine.run("tick", {**{name: self._array(v) for name, v in given.items()}, **identity})
        picture = made["picture"]
        drawn = time.perf_counter()
        self.spent["upsample"] = drawn - began
        if self.teeth is not None:
            picture = self.teeth.restore(picture, made["points"])
            self.spent["teeth"] = time.perf_counter() - drawn
        return Drawn(made["picture"], picture, made["points"])

    def _choose(self, low: NDArray[np.float32]) -> Arrays | None:
        if not self._identities:
            return None
        hints = self._state.hints
        now = Look(low, (float(hints.values[_YAW]), float(hints.values[_PITCH])) if hints.known else None)
        looks = [known.look for known in self._identities]
        choice = choose(looks, self._used, now, self._stills, self._choice)
        used = [looks[k] for k in choice]
        if self._chosen is None or {id(look) for look in used} != {id(look) for look in self._used}:
            if self._chosen is not None:
                self._fade.begin()
            parts = [self._identities[k].identity for k in choice]
            self._chosen = parts[0] if len(parts) == 1 else self.engine.together(parts)
        self._used = used
        return self._chosen

    def _array(self, values: NDArray[Any]) -> Array:
        """With a batch axis, on the device."""
        return self.engine.array(np.ascontiguousarray(values, np.float32)[None])


def _unit(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, n, 3) uint8 -> (3, n, n) in [-1, 1]."""
    return np.asarray(picture.transpose(2, 0, 1) / np.float32(127.5) - 1, np.float32)


def _bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, n, 3) in [-1, 1] -> uint8, rounded and clipped."""
    return np.asarray(np.clip(picture * 127.5 + 128, 0, 255), np.uint8)
