"""Token buckets: how much of something is let through in a while. Pure; the time is an argument."""

from __future__ import annotations

from collections import OrderedDict


class TokenBucket:
    """Lets `burst` units through at once and `rate` units a second in the long run."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at: float | None = None

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take `amount` if it is there at time `now` (seconds); False leaves the bucket as it is."""
        self._refill(now)
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def wait(self, now: float, amount: float = 1.0) -> float:
        """Seconds from `now` until `amount` can be taken; 0 when it can be at once."""
        self._refill(now)
        return max(0.0, (amount - self._level) / self._rate)


class AddressLimiter:
    """One bucket for each client address; the addresses longest unheard of are forgotten above `max_addresses`."""

    def __init__(self, rate: float, burst: float, max_addresses: int = 10_000) -> None:
        self._rate = rate
        self._burst = burst
        self._max = max_addresses
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, address: str) -> TokenBucket:
        bucket = self._buckets.get(address)
        if bucket is None:
            bucket = self._buckets[address] = TokenBucket(self._rate, self._burst)
            if len(self._buckets) > self._max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(address)
        return bucket

    def take(self, address: str, now: float) -> bool:
        """Count one event of `address`; False when it has had too many."""
        return self._bucket(address).take(now)

    def wait(self, address: str, now: float) -> float:
        """Seconds until `address` may go on; 0 when it may at once."""
        bucket = self._buckets.get(address)
        return bucket.wait(now) if bucket else 0.0
