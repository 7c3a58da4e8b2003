"""What the receiver asks the sender for, and how often at most. Pure, time is an argument."""

from __future__ import annotations

from signaling.control import ControlMessage, NeedStill, Refresh


class Requests:
    """Decides when to send what.

    Refresh: at once, then every 0.3 s while it is needed. NeedStill: at once after a corrupt one, otherwise when none
    has come 1 s after the connection, then at growing intervals up to 10 s.
    """

    _REFRESH_EVERY = 0.3
    _FIRST_SECONDS, _STATISTICS_EVERY = 4, 8.0
    _STILL_AFTER, _STILL_SOON, _STILL_MOST = 1.0, 0.5, 10.0

    def __init__(self) -> None:
        self._have_still = False
        self._still_at: float | None = None
        self._still_pause = self._STILL_AFTER
        self._last_still = float("-inf")
        self._last_refresh = float("-inf")
        self._last_statistics = float("-inf")
        self._told = 0

    def connected(self, now: float) -> None:
        """A peer is there; it sends its still without being asked."""
        self._still_pause = self._STILL_AFTER
        self._told = 0
        if not self._have_still:
            self._still_at = now + self._STILL_AFTER

    def disconnected(self) -> None:
        self._still_at = None

    def still(self, now: float, good: bool) -> None:
        """A still has come; a corrupt one is asked for again even if an older one is there."""
        if good:
            self._have_still, self._still_at = True, None
        else:
            self._still_at = max(now, self._last_still + self._STILL_SOON)

    def due(self, now: float, needs_refresh: bool) -> list[ControlMessage]:
        """The messages to send now."""
        out: list[ControlMessage] = []
        if needs_refresh and now - self._last_refresh >= self._REFRESH_EVERY:
            self._last_refresh = now
            out.append(Refresh())
        if self._still_at is not None and now >= self._still_at:
            self._last_still = now
            self._still_pause = min(self._still_pause * 2, self._STILL_MOST)
            self._still_at = now + self._still_pause
            out.append(NeedStill())
        return out

    def statistics_due(self, now: float, loss_percent: float) -> bool:
        """Whether to tell the sender how the call goes; asked once a second.

        Each message costs some 250 bytes on the wire with its acknowledgement, so on a clean link it goes every 8 s.
        """
        if (
            self._told >= self._FIRST_SECONDS
            and not loss_percent
            and now - self._last_statistics < self._STATISTICS_EVERY
        ):
            return False
        self._told += 1
        self._last_statistics = now
        return True
