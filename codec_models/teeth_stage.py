"""The teeth stage in a call: a stateful predictor over the teeth network (hdtr-net), on the pictures of a stream.

A reference is made once a still; then every drawn picture has its mouth restored where the gate (`teeth_gate.py`) lets
it. The gate moves a step a tick so that nothing pops, and stays on the device: nothing here waits for the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .engines.engine import Array, Engine

_BETTER = 1.25
"""A reference is exchanged for one that shows teeth so much better: the mouth looks a little different after it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A still's mouth, arrays of the engine. memory: of the network `teeth_still`; redness of its lips and yaw of its
    head, (1,); shown: how well it shows teeth, at least 0, lower where the gate would not be open.
    """

    memory: Array
    redness: Array
    yaw: Array
    shown: float


class TeethStage:
    """Pictures and landmarks are arrays of the engine, whose networks `teeth_still`, `mouth` and `teeth` it uses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reference: Reference | None = None
        self._unset = engine.array(np.full(1, -1, np.float32))
        self._none, self._one = (engine.array(np.full(1, k, np.float32)) for k in (0, 1))
        self.reset()

    def reset(self) -> None:
        """Forget the stream, not the reference."""
        self._gate: Array | None = None

    @property
    def gate(self) -> Array | None:
        """(1,) in [0, 1] of the last tick, on the device; None before the first."""
        return self._gate

    @property
    def reference(self) -> Reference | None:
        """The one in use."""
        return self._reference

    def remember(self, picture: Array, points: Array) -> Reference:
        """Features of a still (1, 3, 256, 256) in [-1, 1] with its landmarks (1, 110, 2) in [-1, 1]; for `use`."""
        made = self._engine.run("teeth_still", {"picture": picture, "points": points})
        shown = float(self._engine.numpy(made["shown"])[0])
        return Reference(made["reference"], made["redness"], made["yaw"], shown)

    def use(self, references: Sequence[Reference]) -> None:
        """Choose the one that shows teeth best. The one in use stays while it is among them and nearly as good."""
        best = max(references, key=lambda r: r.shown, default=None)
        mine = self._reference
        kept = mine is not None and any(r is mine for r in references)
        if best is None or mine is None or not kept or best.shown > _BETTER * mine.shown:
            self._reference = best

    def restore(self, picture: Array, points: Array) -> Array:
        """The next tick: a drawn picture (1, 3, 256, 256) in [-1, 1] and its landmarks (1, 110, 2) -> a new picture
        with its mouth restored.

        The 8x8 average of the picture moves by a level or two at the most; to pull it back was found to make it worse.
        """
        engine, reference = self._engine, self._reference
        beside = {"redness": self._none, "yaw": self._none, "known": self._none}
        if reference is not None:
            beside = {"redness": reference.redness, "yaw": reference.yaw, "known": self._one}
        gate = self._unset if self._gate is None else self._gate
        mouth = engine.run("mouth", {"picture": picture, "points": points, "gate": gate, **beside})
        self._gate = mouth["new_gate"]
        given = {name: mouth[name] for name in ("crop", "planes", "share")}
        if reference is None:
            change = engine.run("teeth_alone", given)["change"]
        else:
            change = engine.run("teeth", {**given, "reference": reference.memory})["change"]
        return engine.added(picture, change, mouth["corner"])
