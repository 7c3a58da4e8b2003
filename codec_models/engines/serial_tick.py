"""Ticks of several calls one after the other on any engine: what `batch.Batch` runs where no batches can be made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .device_memory import free_memory
from .engine import IDENTITY, Array, Arrays, Engine
from .tick_row import TickRow, divided


@dataclass(slots=True)
class _Slot:
    identity: Arrays
    reference: Arrays
    gate: Array | None = None


class SerialTick:
    """slots: calls that are let in at most. One thread at a time."""

    still_bytes = 4 * sum(prod(shape) for shape in IDENTITY.values())

    def __init__(self, engine: Engine, slots: int) -> None:
        self._engine, self.slots = engine, slots
        self.backend, self.device = engine.backend, engine.device
        self.sizes = tuple(range(1, slots + 1))
        self._calls = [_Slot({}, {}) for _ in range(slots)]
        self._none = engine.array(np.zeros(1, np.float32))
        self._one = engine.array(np.ones(1, np.float32))

    def run(self, network: str, inputs: Mapping[str, Any]) -> Arrays:
        return self._engine.run(network, {name: self._array(value) for name, value in inputs.items()})

    def numpy(self, array: Any) -> NDArray[Any]:
        return array if isinstance(array, np.ndarray) else self._engine.numpy(array)

    def exchange(self, slot: int, identity: Arrays | None, reference: Arrays | None) -> None:
        """As `DeviceTick.exchange`."""
        if identity is not None:
            self._calls[slot].identity = {name: identity[name] for name in IDENTITY}
        if reference is not None:
            self._calls[slot].reference = dict(reference)

    def free_memory(self) -> int | None:
        return free_memory(self.device)

    def draw(self, rows: Sequence[TickRow]) -> Sequence[NDArray[np.uint8] | Exception]:
        """As `DeviceTick.draw`; where a row fails, its error."""
        return [self._drawn(row) for row in rows]

    def _drawn(self, row: TickRow) -> NDArray[np.uint8] | Exception:
        try:
            return self._picture(row)
        except Exception as e:
            return e

    def _picture(self, row: TickRow) -> NDArray[np.uint8]:
        engine, call = self._engine, self._calls[row.slot]
        self.exchange(row.slot, row.identity, row.reference)
        parts, _ = divided(np.append(row.values, 0.0).astype(np.float32)[None])
        begins, restore = (float(parts.pop(name)[0]) > 0 for name in ("begins", "restore"))
        given = {name: engine.array(np.ascontiguousarray(part)) for name, part in parts.items()}
        made = engine.run("tick", {**given, **call.identity})
        if not restore:
            return engine.shown(made["picture"])
        if begins or call.gate is None:
            call.gate = engine.array(np.full(1, -1, np.float32))
        beside = {"redness": self._none, "yaw": self._none, "known": self._none}
        if call.reference:
            beside = {"redness": call.reference["redness"], "yaw": call.reference["yaw"], "known": self._one}
        mouth = engine.run("mouth", {**made, "gate": call.gate, **beside})
        call.gate = mouth["new_gate"]
        crop = {name: mouth[name] for name in ("crop", "planes", "share")}
        if call.reference:
            change = engine.run("teeth", {**crop, "reference": call.reference["reference"]})["change"]
        else:
            change = engine.run("teeth_alone", crop)["change"]
        return engine.shown(engine.added(made["picture"], change, mouth["corner"]))

    def _array(self, value: Any) -> Array:
        return self._engine.array(np.asarray(value, np.float32)) if isinstance(value, np.ndarray) else value
