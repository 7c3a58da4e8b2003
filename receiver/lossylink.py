"""A bad network, simulated: drops a share of the received packets before anything looks at them.

For measurements only. `PINHOLE_SIMULATED_LOSS=0.1` drops every tenth packet, chosen by a seeded generator, so that two
runs drop the same ones.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping

from codec_models.errors import UserError
from signaling.call import CallEvents, ReceivedPacket
from signaling.control import ControlMessage

VARIABLE = "PINHOLE_SIMULATED_LOSS"


class LossyLink:
    """Stands between a call and its events. share: 0 to 1, of the packets that are dropped."""

    def __init__(self, events: CallEvents, share: float, seed: int = 1) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"a share of lost packets is 0 or more and below 1, not {share}")
        self._events = events
        self._share = share
        self._random = random.Random(seed)
        self.dropped = 0
        self.passed = 0

    def connected(self) -> None:
        self._events.connected()

    def disconnected(self, reason: str) -> None:
        self._events.disconnected(reason)

    def packet(self, packet: ReceivedPacket) -> None:
        if self._random.random() < self._share:
            self.dropped += 1
            return
        self.passed += 1
        self._events.packet(packet)

    def control(self, message: ControlMessage) -> None:
        self._events.control(message)


def simulated(events: CallEvents, environment: Mapping[str, str] | None = None) -> CallEvents:
    """The same events, behind a LossyLink where the environment asks for one. Raises UserError on a bad value."""
    text = (os.environ if environment is None else environment).get(VARIABLE, "")
    if not text:
        return events
    try:
        return LossyLink(events, float(text))
    except ValueError:
        raise UserError(f"{VARIABLE} is {text!r}: set it to a share such as 0.1, or leave it out") from None
