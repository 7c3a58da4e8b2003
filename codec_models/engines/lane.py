"""A call's way onto a device that it shares: an engine that notes down what a tick asks for, and runs it at the end.

`NetworkReconstructor` runs a tick in steps: upsampler, mouth, teeth, adding, showing. On a lane none of them runs until
the picture is shown; then the whole tick goes to the device as one row, together with those of other calls. So the same
reconstruction, with its windows, stills and choices, serves one call alone or many together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .engine import IDENTITY, NETWORKS, Arrays, Engine
from .tick_row import PARTS, TickRow, packed

_REFERENCE = ("reference", "redness", "yaw")


class Shared(Protocol):
    """What a lane needs of what runs it (`batch.Batch`)."""

    def network(self, lane: Lane, network: str, inputs: Mapping[str, Any]) -> Arrays:
        """A network that runs once a still, as soon as it may."""

    def numpy(self, lane: Lane, array: Any) -> NDArray[Any]: ...

    def picture(self, lane: Lane, row: TickRow) -> NDArray[np.uint8]:
        """The row's picture (256, 256, 3), drawn together with others."""


@dataclass(slots=True)
class _Noted:
    """A tick as far as it has been asked for. Its arrays are all this object: what they hold is not known here."""

    given: dict[str, Any]
    identity: Arrays
    begins: bool = True
    restore: bool = False
    beside: dict[str, Any] | None = None


class Lane:
    """Engine (see `engine.Engine`) of one call. slot: its number on the device; host: makes the engine for networks
    that run on the host, those of the interpolation, whose 8x8 pictures cost a device more to start than to compute.

    Of a tick only its picture can be had, by `shown`; ValueError where it is asked for anything else. left: its place
    may be another call's by now.
    """

    several = False
    left = False

    def __init__(self, shared: Shared, slot: int, backend: str, device: str, host: Callable[[], Engine]) -> None:
        self.backend, self.device, self.slot = backend, device, slot
        self._shared, self._make_host = shared, host
        self._host: Engine | None = None
        self._identity: Any = None
        self._beside: Any = None
        self._gate: _Noted | None = None

    def run(self, network: str, inputs: Mapping[str, Any]) -> Arrays:
        if network.startswith("interpolation"):
            return self._hosted().run(network, {name: self._hosted().array(v) for name, v in inputs.items()})
        if network == "tick":
            given = {name: inputs[name] for name in NETWORKS["tick"].inputs if name not in IDENTITY}
            noted = _Noted(given, {name: inputs[name] for name in IDENTITY})
            return dict.fromkeys(NETWORKS["tick"].outputs, noted)
        if network == "mouth":
            noted = _noted(inputs["picture"])
            # the gate is on the device; what comes from the host says that a stream begins
            noted.begins = not isinstance(inputs["gate"], _Noted) or inputs["gate"] is not self._gate
            noted.beside = {name: inputs[name] for name in ("redness", "yaw")}
            return dict.fromkeys(NETWORKS["mouth"].outputs, noted)
        if network in ("teeth", "teeth_alone"):
            noted = _noted(inputs["crop"])
            noted.beside = {**(noted.beside or {}), "reference": inputs["reference"]} if network == "teeth" else {}
            return {"change": noted}
        return self._shared.network(self, network, inputs)

    def array(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values)

    def numpy(self, array: Any) -> NDArray[Any]:
        if isinstance(array, _Noted):
            raise ValueError("of a tick that runs together with others only its picture can be had")
        return np.asarray(array) if isinstance(array, np.ndarray) else self._shared.numpy(self, array)

    def together(self, parts: Sequence[Arrays]) -> Arrays:
        if len(parts) != 1:
            raise ValueError("a shared device takes one still at a time")
        return parts[0]

    def added(self, picture: Any, change: Any, corner: Any) -> Any:
        noted = _noted(picture)
        noted.restore = noted is change and noted is corner
        return noted

    def shown(self, picture: Any) -> NDArray[np.uint8]:
        noted = _noted(picture)
        row = TickRow(self.slot, packed({**noted.given, "begins": noted.begins, "restore": noted.restore}))
        assert set(noted.given) <= set(PARTS)
        key = noted.identity["memory"]
        if key is not self._identity:
            row.identity = noted.identity
        if noted.restore:
            beside = noted.beside or {}
            mouth = beside.get("reference")
            if mouth is not self._beside or self._gate is None:
                row.reference = {name: beside[name] for name in _REFERENCE} if beside else {}
        drawn = self._shared.picture(self, row)
        self._identity = key
        if noted.restore:
            self._beside, self._gate = mouth, noted
        return drawn

    def _hosted(self) -> Engine:
        if self._host is None:
            self._host = self._make_host()
        return self._host


def _noted(array: Any) -> _Noted:
    if not isinstance(array, _Noted):
        raise ValueError("on a shared device these steps follow the network `tick`")
    return array
