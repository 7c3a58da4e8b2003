"""From ticks to pictures: the interface that every reconstruction fills, and the one that needs no network."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .bitstream.face import FaceTick, area_8x8
from .bitstream.still import IdentityStill
from .bitstream.timing import PICTURE
from .errors import UserError

NAMES = ("auto", "network", "still-colour")
LOOKAHEAD = 0
"""Frames that interpolation waits for at 5 fps unless told otherwise."""


if TYPE_CHECKING:
    from .engines.engine import Engine


class Reconstructor(Protocol):
    """Stateful predictor: the still is set once, then one picture is drawn a tick.

    backend and device name what really runs, for the report. Not thread-safe: one call, one thread at a time. fps: of
    the 8x8 stream, 5 or 25, where the sender has told; None: to be found out. delay: see `tick`.
    """

    @property
    def backend(self) -> str: ...

    @property
    def device(self) -> str: ...

    @property
    def delay(self) -> int: ...

    @property
    def spent(self) -> Mapping[str, float]:
        """Seconds that the last `tick` took by stage: interpolate, upsample, teeth; what is missing did not run."""

    @property
    def fps(self) -> int | None: ...

    @fps.setter
    def fps(self, fps: int | None) -> None: ...

    def set_identity(self, still: IdentityStill) -> None:
        """A still (again, or another one of the same person) has arrived."""

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        """Draw the picture of the next tick, (256, 256, 3) uint8 RGB; or of the one `delay` ticks before it.

        face: the decoded tick; its picture is None where the tick brought none (5 fps, a lost tick).
        voice: the tick's 1920 samples at 48 kHz, or None when they are missing.
        """

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        """A tick that is not drawn, because there is no time for it; the ones after it know of it all the same."""

    def reset(self) -> None:
        """Forget the stream (not the still): another one starts."""


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def reconstructor(
    name: str = "auto",
    say: Callable[[str], None] = _on_stderr,
    lookahead: int | None = LOOKAHEAD,
    teeth: bool = True,
    backend: str = "auto",
    precision: str | None = None,
    engine: Engine | None = None,
) -> Reconstructor:
    """A new reconstruction. name: "network", "still-colour", or "auto" for the network where it can run here, else
    the still with the received colours; then `say` gets one line with the reason.

    lookahead: frames that interpolation waits for at 5 fps, 0 or 1; None: each holds until the next comes. teeth:
    whether they are restored. backend, precision: as in `engines.choice.choose`; engine: one that has been
    chosen already. All of these are the network's.
    Raises UserError on another name, and where the network or a backend was asked for by name and cannot run.
    """
    if name not in NAMES:
        raise UserError(f"no reconstruction called {name}; known are {', '.join(NAMES)}")
    if name != "still-colour":
        from .engines.choice import choose
        from .interpolated import Interpolated
        from .network import NetworkReconstructor
        from .slow_stream import SlowStream

        try:
            engine = engine or choose(backend, say, precision)
            network = NetworkReconstructor(engine, teeth=teeth)
            return network if lookahead is None else Interpolated(network, SlowStream(engine, lookahead))
        except UserError as e:
            if name == "network" or backend != "auto":
                raise
            say(without_network(e))
    return StillColour()


def without_network(reason: UserError) -> str:
    """The line that says why it is not the network that draws."""
    return f"without the network: {reason}; showing the still with the received colours"


class StillColour:
    """The still, its colours pulled to the received 8x8 frame: what can be shown without a network.

    The difference between the received frame and the still's own 8x8 average is enlarged smoothly and added, so the
    picture follows light, colour and large movements, and its 8x8 average is nearly the received one. Before a still
    has arrived, the enlarged 8x8 frame itself is shown.
    """

    backend = "still-colour"
    device = "cpu"
    delay = 0
    fps: int | None = None

    def __init__(self) -> None:
        self._still: NDArray[np.float32] | None = None
        self._still_low: NDArray[np.float32] | None = None
        self._low = np.full((8, 8, 3), 128, np.float32)
        self._started = False
        self.spent: dict[str, float] = {}

    def set_identity(self, still: IdentityStill) -> None:
        self._still = still.picture.astype(np.float32)
        self._still_low = area_8x8(still.picture).astype(np.float32)

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        if face.picture is not None:
            self._low = face.picture.astype(np.float32)
            self._started = True

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        began = time.perf_counter()
        self.take(face, voice)
        picture = self._drawn()
        self.spent = {"upsample": time.perf_counter() - began}
        return picture

    def _drawn(self) -> NDArray[np.uint8]:
        if self._still is None or self._still_low is None:
            return _to_bytes(enlarge(self._low))
        if not self._started:
            return _to_bytes(self._still)
        return _to_bytes(self._still + enlarge(self._low - self._still_low))

    def reset(self) -> None:
        self._started = False


def enlarge(low: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bicubic enlargement of an 8x8 frame (8, 8, 3) to (256, 256, 3)."""
    return np.asarray(cv2.resize(low, (PICTURE, PICTURE), interpolation=cv2.INTER_CUBIC), np.float32)


def _to_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(picture + 0.5, 0, 255), np.uint8)
