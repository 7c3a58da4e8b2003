"""An engine that draws some ticks of a stream only, and each of them once from each still.

What the upsampler draws of a tick follows from the stream up to it and from the still, not from the stills that came
before (as long as no teeth stage and no fading is behind it). So many ways to choose stills can be compared for the
price of the pictures in which they differ, with a real `NetworkReconstructor` that chooses in every tick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.timing import PICTURE
from codec_models.engines.engine import Array, Arrays, Engine

Stream = tuple[object, ...]


@dataclass
class SampledEngine:
    """Engine (see `codec_models.engines.engine`) around another one; its pictures are those that `shown` gives.

    stream: what is being drawn, changed with the stream; at: the tick that comes next, None: draw without remembering.
    every: of so many ticks one is drawn, the others are black. drawn: how many were computed. used: the stills asked
    for in each tick, drawn or not.
    """

    engine: Engine
    every: int = 1
    stream: Stream = ()
    at: int | None = None
    drawn: int = 0
    used: list[tuple[int, ...]] = field(default_factory=list)
    _stills: dict[bytes, Arrays] = field(default_factory=dict)
    _names: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _joined: dict[tuple[int, ...], Arrays] = field(default_factory=dict)
    _pictures: dict[tuple[Stream, int, tuple[int, ...]], NDArray[np.uint8]] = field(default_factory=dict)
    _black: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((PICTURE, PICTURE, 3), np.uint8))

    @property
    def backend(self) -> str:
        return self.engine.backend

    @property
    def device(self) -> str:
        return self.engine.device

    @property
    def several(self) -> bool:
        return self.engine.several

    def sampled(self, tick: int) -> bool:
        """Whether this tick is drawn."""
        return tick % self.every == 0

    def forget(self) -> None:
        """All stills and pictures: another scene begins."""
        for kept in (self._stills, self._names, self._joined, self._pictures, self.used):
            kept.clear()

    def run(self, network: str, inputs: Mapping[str, Array]) -> Arrays:
        if network == "still":
            return self._still(inputs)
        if network != "tick" or self.at is None:
            return self.engine.run(network, inputs)
        self.used.append(self._names[id(inputs["memory"])])
        if not self.sampled(self.at):
            return {"picture": self._black, "points": None}
        key = self.stream, self.at, self.used[-1]
        if key not in self._pictures:
            self._pictures[key] = self.engine.shown(self.engine.run("tick", inputs)["picture"])
            self.drawn += 1
        return {"picture": self._pictures[key], "points": None}

    def _still(self, inputs: Mapping[str, Array]) -> Arrays:
        content = b"".join(self.engine.numpy(inputs[name]).tobytes() for name in sorted(inputs))
        if content not in self._stills:
            made = self._stills[content] = dict(self.engine.run("still", inputs))
            self._names[id(made["memory"])] = (len(self._stills),)
        return self._stills[content]

    def array(self, values: NDArray[Any]) -> Array:
        return self.engine.array(values)

    def numpy(self, array: Array) -> NDArray[Any]:
        return self.engine.numpy(array)

    def together(self, parts: Sequence[Arrays]) -> Arrays:
        names = tuple(name for part in parts for name in self._names[id(part["memory"])])
        if names not in self._joined:
            made = self._joined[names] = dict(self.engine.together(parts))
            self._names[id(made["memory"])] = names
        return self._joined[names]

    def added(self, picture: Array, change: Array, corner: Array) -> Array:
        return self.engine.added(picture, change, corner)

    def shown(self, picture: Array) -> NDArray[np.uint8]:
        if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
            return picture
        return self.engine.shown(picture)
