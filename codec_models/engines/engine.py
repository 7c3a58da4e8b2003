"""The one interface of all runtimes: run a named network on named arrays.

An engine has arrays of its own (a tensor on its device, or numpy's): what one network gives, another one takes without
a copy through the host. The networks, their inputs and outputs are in `NETWORKS`; B is the batch axis, all other axes
are fixed. Pictures are RGB in [-1, 1], landmarks in [-1, 1], hints raw. No runtime is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = Any
"""Of an engine's own."""
Arrays = dict[str, Array]

Shape = tuple[int, ...]
"""Without the batch axis."""


@dataclass(frozen=True, slots=True)
class Signature:
    """inputs, outputs: name to shape without the batch axis. once: it runs once a still, not once a tick. exact: always
    computed in float32, because coordinates of whole pictures lose pixels in 16 bits.
    """

    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    once: bool = False
    exact: bool = False


_POINTS = (110, 2)
_PICTURE = (3, 256, 256)
_CROP = (3, 96, 96)
IDENTITY: dict[str, Shape] = {
    "still_points": (1, *_POINTS),
    "still_low": (1, 3, 8, 8),
    "still_hints": (1, 12),
    "visual": (1, 64, 8, 8),
    "memory": (1, 2, 256, 128),
    "at32": (1, 48, 32, 32),
    "at64": (1, 32, 64, 64),
    "moved64": (1, 32, 64, 64),
    "moved128": (1, 16, 128, 128),
    "moved256": (1, 11, 256, 256),
    "fixed64": (1, 32, 64, 64),
    "fixed128": (1, 16, 128, 128),
    "fixed256": (1, 8, 256, 256),
}
"""What is known of a still, in the order of `upsampler.IdentityFeatures`; the second axis counts stills. Channels are
those of `upsampler.LIVE`; other configurations, with torch alone, have others."""
_REFERENCE = 32 * 48 * 48 + 144 * 2 * 96 + 4
_FRAMES: dict[str, Shape] = {"frames": (5, 3, 8, 8), "times": (5,), "key_hints": (5, 12), "key_has": (5,)}

NETWORKS: dict[str, Signature] = {
    # a still and its 8x8 average; points count where has_points is 1, elsewhere they are guessed
    "still": Signature(
        {"picture": _PICTURE, "low": (3, 8, 8), "points": _POINTS, "has_points": (1,)}, tuple(IDENTITY), once=True
    ),
    # one tick of the upsampler, from the 8x8 window, the log-mels, the hints and what is given of these: hints, voice
    "tick": Signature(
        {"window": (5, 3, 8, 8), "mel": (80, 16), "hints": (12,), "has": (2,), **IDENTITY}, ("picture", "points")
    ),
    # what the teeth stage keeps of a still with landmarks; shown: how well it shows teeth
    "teeth_still": Signature(
        {"picture": _PICTURE, "points": _POINTS}, ("reference", "redness", "yaw", "shown"), once=True
    ),
    # where the mouth is, and the gate: below 0 where the stream begins; redness, yaw of a reference where known is 1
    "mouth": Signature(
        {"picture": _PICTURE, "points": _POINTS, "gate": (), "redness": (), "yaw": (), "known": ()},
        ("crop", "planes", "share", "corner", "new_gate"),
        exact=True,
    ),
    # the change of the mouth, feathered and gated: to be added to the picture at `corner` (x, y)
    "teeth": Signature(
        {"crop": _CROP, "planes": (2, 96, 96), "share": (1, 96, 96), "reference": (_REFERENCE,)}, ("change",)
    ),
    "teeth_alone": Signature({"crop": _CROP, "planes": (2, 96, 96), "share": (1, 96, 96)}, ("change",)),
    # five received frames, encoded; then any tick of theirs
    "interpolation_encode": Signature(_FRAMES, ("features",), exact=True),
    "interpolation_at": Signature(
        {**_FRAMES, "features": (5, 32, 8, 8), "at": (1,), "hints": (1, 12), "has": (1,)}, ("low",), exact=True
    ),
}


class Engine(Protocol):
    """One runtime on one device. Not thread-safe: one call, one thread at a time."""

    @property
    def backend(self) -> str:
        """Runtime and precision, for people: `torch bf16`."""

    @property
    def device(self) -> str: ...

    @property
    def several(self) -> bool:
        """Whether more than one still can be used at once."""

    def run(self, network: str, inputs: Mapping[str, Array]) -> Arrays:
        """The network of this name in `NETWORKS`, on arrays with a batch axis -> its outputs, which stay valid."""

    def array(self, values: NDArray[Any]) -> Array:
        """From the host; a copy only where the device needs one."""

    def numpy(self, array: Array) -> NDArray[Any]:
        """To the host."""

    def together(self, parts: Sequence[Arrays]) -> Arrays:
        """Several stills, of the network `still`, as one: joined along the second axis."""

    def added(self, picture: Array, change: Array, corner: Array) -> Array:
        """A new picture (1, 3, 256, 256) with change (1, 3, 96, 96) added at corner (1, 2), x and y of its top left."""

    def shown(self, picture: Array) -> NDArray[np.uint8]:
        """(1, 3, n, n) in [-1, 1] -> (n, n, 3) uint8, rounded and clipped."""
