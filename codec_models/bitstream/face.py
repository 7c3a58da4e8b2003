"""The face layer: one 8x8 picture and its hints a tick, to bytes and back.

Format, version 2
-----------------
A tick is one string of range-coded symbols (`rangecoder.py`); an empty string is a tick with neither picture nor hints.

1. refresh, one bit with probability 1/64: this tick leans on nothing before it.
2. In a refresh: 2 bits version (2), 1 bit profile (0 full, 1 lean), 4 bits quality, uniform. Otherwise these stay.
3. picture present, one bit; hints present, one bit. Either is expected (63/64) to be as it was as many ticks ago as the
   last two pictures (hints: ticks with hints) lay apart; in a refresh both bits are uniform.
4. hints (`hints.py`), if present.
5. picture, if present.

Picture: RGB is turned to BT.601 planes in sixteenths of a level (`colour.py`). Each of the 192 samples is predicted by
its own value in the last decoded picture, or in a refresh by the mean face of the prior; the difference is quantised
with the step of its plane and coded with the frequencies that the prior gives (`prior.py`), group by group. The table
for a symbol follows from the width index and from the centre c in eighths of a step: k = floor(c / 8 + 1/2), the
symbol less k is coded, mirrored if c - 8 k < 0, as -15 to 15 or an escape at either end followed by an exponential
Golomb code of the excess. The reconstruction is the prediction plus symbol times step; nothing is filtered or shifted,
so a pixel at rest costs almost nothing and stays exactly as it is.

Luma steps by quality are in `STEPS`; the colour planes have 15/16 and 18/16 of the luma step in the full profile, which
spreads the error evenly over R, G and B, and 3 and 3 1/2 times that much in the lean one.

Loss
----
Every picture leans on the one before, and so does its prior: a decoder that misses a tick can decode nothing until a
refresh. On a link that loses packets each packet repeats the tick before it (`packet.py`), so that one lost packet
costs nothing; after a longer hole `FaceDecoder.needs_refresh` turns true, the receiver asks over the reliable channel,
and the sender's next picture is a refresh (about 0.7 kbit): one round trip and a tick. Where nobody can ask (an
archive, a one-way link) `FaceConfig.refresh_ticks` makes every so many ticks a refresh; 12 bounds any damage to half a
second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .colour import UNIT, to_picture, to_planes
from .errors import BitstreamError
from .hints import Hints, HintState
from .prior import GATHERS, KIND_FAST, KIND_INTRA, KIND_SLOW, REACH, FacePrior, face_prior
from .rangecoder import TOTAL, RangeDecoder, RangeEncoder

Profile = Literal["full", "lean"]

VERSION = 2
STEPS = (24, 28, 32, 40, 48, 52, 56, 60, 64, 72, 80, 96, 112, 128, 160, 224)
"""Luma quantiser step by quality index, in sixteenths of a level."""
_REFRESH_ONE = TOTAL // 64
_AS_BEFORE = TOTAL - TOTAL // 64
_SLOW_TICKS = 3
"""From this many ticks between two pictures the prior's kind is `KIND_SLOW`."""
DEFAULT = -1
_DEFAULTS: dict[tuple[str, int], tuple[int, float]] = {
    ("full", 25): (10, 0.1),
    ("full", 5): (10, 0.13),
    ("lean", 25): (10, 0.1),
    ("lean", 5): (10, 0.1),
}
_LEVEL_LIMIT = 400 * UNIT
_MAX_SYMBOL = 600


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """Settings of an encoder; the decoder learns what it needs from the bits.

    profile: full (8x8 chroma, finely) or lean (chroma coarsely); quality: index into STEPS, 0 finest;
    fps: picture rate that the sender will keep; hints: whether the sender gives them;
    refresh_ticks: every so many ticks a refresh, 0 for only when asked;
    rate_weight: squared error, in steps, that a bit saved may cost when the encoder weighs a symbol against the next
    smaller one. DEFAULT: the coarsest step that costs the drawn picture about a tenth of a decibel.
    """

    profile: Profile = "full"
    quality: int = DEFAULT
    fps: Literal[25, 5] = 25
    hints: bool = True
    refresh_ticks: int = 0
    rate_weight: float = DEFAULT

    def __post_init__(self) -> None:
        if (self.profile, self.fps) not in _DEFAULTS:
            raise ValueError(f"profile {self.profile!r} at {self.fps} fps: full or lean at 25 or 5")
        quality, weight = _DEFAULTS[self.profile, self.fps]
        if self.quality == DEFAULT:
            object.__setattr__(self, "quality", quality)
        if self.rate_weight == DEFAULT:
            object.__setattr__(self, "rate_weight", weight)
        if not 0 <= self.quality < len(STEPS):
            raise ValueError(f"quality {self.quality}: 0 to {len(STEPS) - 1}")


@dataclass(frozen=True, slots=True)
class FaceTick:
    """One decoded tick: picture (8, 8, 3) uint8 RGB or None where the tick has no picture, hints or None.

    clean: False while ticks are missing and no refresh has come yet. hint_bits: what the hints cost.
    """

    picture: NDArray[np.uint8] | None
    hints: Hints | None
    clean: bool = True
    hint_bits: float = 0.0


class _Rhythm:
    """Expects what comes every n-th tick to come every n-th tick."""

    def __init__(self) -> None:
        self.period, self.since = 1, 0

    def expected(self) -> bool:
        return self.since + 1 == self.period

    def tick(self, present: bool) -> None:
        self.since += 1
        if present:
            self.period, self.since = self.since, 0


class _Stream:
    """What encoder and decoder both know."""

    def __init__(self, prior: FacePrior) -> None:
        self.prior = prior
        self.hints = HintState(prior)
        self.restart("full", 0)

    def restart(self, profile: Profile, quality: int) -> None:
        self.profile, self.quality = profile, quality
        y = STEPS[quality]
        blue, red = (15, 18) if profile == "full" else (45, 52)
        steps = (y, y * blue >> 4, y * red >> 4)
        self.step = np.repeat(np.array(steps, np.int64), 64)
        self.before = self.before2 = self.prior.mean
        self.last = np.zeros(192, np.int64)
        self.intra = True
        self.pictures, self.hint_ticks = _Rhythm(), _Rhythm()
        self.hints.refresh()

    def kind(self) -> int:
        if self.intra:
            return KIND_INTRA
        return KIND_FAST if self.pictures.since + 1 < _SLOW_TICKS else KIND_SLOW

    def commit(self, symbols: NDArray[np.int64]) -> None:
        decoded = self.before + symbols * self.step
        if np.abs(decoded).max() > _LEVEL_LIMIT:
            raise BitstreamError("a pixel is out of range")
        self.before2 = decoded if self.intra else self.before
        self.before, self.last, self.intra = decoded, symbols, False

    def presence(self, rhythm: _Rhythm, refresh: bool) -> int:
        """Probability that the bit is one, of 2^15."""
        if refresh:
            return TOTAL // 2
        return _AS_BEFORE if rhythm.expected() else TOTAL - _AS_BEFORE


class FaceEncoder:
    """Encodes the ticks of one stream in order. Under 2 ms a tick on one core."""

    def __init__(self, config: FaceConfig | None = None, prior: FacePrior | None = None) -> None:
        self.config = config or FaceConfig()
        self._stream = _Stream(prior or face_prior())
        self._refresh = True
        self._ticks = 0
        self.hint_bits = 0.0
        """What the hints of the last tick cost."""

    def encode(self, picture: NDArray[np.uint8] | None, hints: Hints | None = None) -> bytes:
        """picture (8, 8, 3) uint8 RGB or None (no face frame in this tick) -> the bytes of the tick.

        b"" only where there is nothing to send; such a tick still counts for the rhythm of pictures.
        """
        s, config = self._stream, self.config
        if config.refresh_ticks and self._ticks >= config.refresh_ticks:
            self._refresh = True
        self._ticks += 1
        # A refresh waits for a tick with a picture, except at the very start and for a camera that is off.
        refresh = self._refresh and (picture is not None or s.intra)
        self.hint_bits = 0.0
        if picture is None and hints is None:
            s.pictures.tick(False)
            s.hint_ticks.tick(False)
            return b""
        coder = RangeEncoder()
        coder.encode_bit(refresh, _REFRESH_ONE)
        if refresh:
            s.restart(config.profile, config.quality)
            coder.encode_uniform(VERSION, 2)
            coder.encode_uniform(config.profile == "lean", 1)
            coder.encode_uniform(config.quality, 4)
            self._ticks = 1
            self._refresh = picture is None
        coder.encode_bit(picture is not None, s.presence(s.pictures, refresh))
        coder.encode_bit(hints is not None, s.presence(s.hint_ticks, refresh))
        before = coder.bits
        if hints is not None:
            s.hints.encode(hints, coder)
        self.hint_bits = coder.bits - before
        if picture is not None:
            self._encode_picture(to_planes(picture), coder)
        s.pictures.tick(picture is not None)
        s.hint_ticks.tick(hints is not None)
        return coder.finish()

    def refresh(self) -> None:
        """Make the next picture independent of those before it; the receiver asked for it."""
        self._refresh = True

    def _encode_picture(self, planes: NDArray[np.int64], coder: RangeEncoder) -> None:
        s = self._stream
        context = s.prior.begin(s.before, s.before2, s.last, s.step, s.kind(), s.profile == "lean")
        residual = (planes - s.before) / s.step
        largest = np.sign(residual) * np.floor(np.abs(residual) + 0.5)
        symbols = np.zeros(192, np.int64)
        for g, gather in enumerate(GATHERS):
            centre, width = s.prior.predict(g, context)
            pixels = gather.pixels
            chosen = self._choose(residual[pixels], largest[pixels], centre, width)
            symbols[pixels] = chosen
            s.prior.update(g, context, chosen)
            for c, w, q in zip(centre.tolist(), width.tolist(), chosen.tolist(), strict=True):
                k, fraction, sign = _split(c)
                s.prior.tables[w][fraction].encode(sign * (q - k), coder)
        s.commit(symbols)

    def _choose(
        self,
        residual: NDArray[np.float64],
        largest: NDArray[np.float64],
        centre: NDArray[np.int64],
        width: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Each symbol, or the next one towards zero where the bits saved outweigh the error."""
        smaller = largest - np.sign(largest)
        costs = [
            (residual - q) ** 2 + self.config.rate_weight * _cost(self._stream.prior, q.astype(np.int64), centre, width)
            for q in (largest, smaller)
        ]
        return np.where(costs[1] < costs[0], smaller, largest).astype(np.int64)


class FaceDecoder:
    """Decodes the ticks of one stream in order. Under 2 ms a tick on one core."""

    def __init__(self, prior: FacePrior | None = None) -> None:
        self._stream = _Stream(prior or face_prior())
        self._broken = True
        self._missed = False

    @property
    def needs_refresh(self) -> bool:
        """True while a tick is missing that later ones lean on: ask the sender for a refresh."""
        return self._broken and self._missed

    def lost(self) -> FaceTick:
        """The next tick never came."""
        self._broken = self._missed = True
        return FaceTick(None, None, False)

    def decode(self, data: bytes) -> FaceTick:
        """Bytes of the next tick -> picture and hints.

        A tick that leans on a lost one gives neither. Raises BitstreamError; the state is then as after `lost`.
        """
        s = self._stream
        if not data:
            s.pictures.tick(False)
            s.hint_ticks.tick(False)
            return FaceTick(None, None, not self._broken)
        try:
            return self._decode(RangeDecoder(data))
        except BitstreamError:
            self._broken = self._missed = True
            raise

    def _decode(self, coder: RangeDecoder) -> FaceTick:
        s = self._stream
        refresh = bool(coder.decode_bit(_REFRESH_ONE))
        if not refresh and self._broken:
            self._missed = True
            return FaceTick(None, None, False)
        if refresh:
            version = coder.decode_uniform(2)
            if version != VERSION:
                raise BitstreamError(f"face layer version {version}, this program speaks {VERSION}")
            s.restart("lean" if coder.decode_uniform(1) else "full", coder.decode_uniform(4))
        has_picture = bool(coder.decode_bit(s.presence(s.pictures, refresh)))
        has_hints = bool(coder.decode_bit(s.presence(s.hint_ticks, refresh)))
        if not has_picture and not has_hints:
            raise BitstreamError("a tick with nothing in it")
        before = coder.bits
        if has_hints:
            s.hints.decode(coder)
        hint_bits = coder.bits - before
        if has_picture:
            s.commit(self._decode_symbols(coder))
        coder.finish()
        s.pictures.tick(has_picture)
        s.hint_ticks.tick(has_hints)
        self._broken = self._missed = False
        picture = to_picture(s.before) if has_picture else None
        return FaceTick(picture, s.hints.hints() if has_hints else None, hint_bits=hint_bits)

    def _decode_symbols(self, coder: RangeDecoder) -> NDArray[np.int64]:
        s = self._stream
        context = s.prior.begin(s.before, s.before2, s.last, s.step, s.kind(), s.profile == "lean")
        symbols = np.zeros(192, np.int64)
        for g, gather in enumerate(GATHERS):
            centre, width = s.prior.predict(g, context)
            mine = []
            for c, w in zip(centre.tolist(), width.tolist(), strict=True):
                k, fraction, sign = _split(c)
                q = k + sign * s.prior.tables[w][fraction].decode(coder)
                if abs(q) > _MAX_SYMBOL:
                    raise BitstreamError("a symbol is out of range")
                mine.append(q)
            symbols[gather.pixels] = mine
            s.prior.update(g, context, symbols[gather.pixels])
        return symbols


def area_8x8(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Area average of a picture (256, 256, 3) uint8 to (8, 8, 3) uint8, rounded to nearest."""
    h, w, c = picture.shape
    if h % 8 or w % 8:
        raise ValueError(f"the sides must be multiples of 8, not {h}x{w}")
    mean = picture.reshape(8, h // 8, 8, w // 8, c).mean((1, 3), dtype=np.float64)
    return np.asarray(np.floor(mean + 0.5), np.uint8)


def _split(centre: int) -> tuple[int, int, int]:
    """Centre in eighths -> whole part, index of the fraction 0 to 4, sign of the fraction."""
    k = centre + 4 >> 3
    fraction = centre - 8 * k
    return k, abs(fraction), -1 if fraction < 0 else 1


def _cost(
    prior: FacePrior, symbols: NDArray[np.int64], centre: NDArray[np.int64], width: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Bits of symbols, (n,)."""
    k = centre + 4 >> 3
    fraction = centre - 8 * k
    j = np.where(fraction < 0, -1, 1) * (symbols - k)
    index = np.clip(j, -REACH - 1, REACH + 1) + REACH + 1
    excess = np.maximum(np.abs(j) - REACH - 1, 0)
    golomb = np.where(np.abs(j) > REACH, 2 * np.floor(np.log2(excess + 1)) + 1, 0)
    return np.asarray(prior.bits[width, np.abs(fraction), index] + golomb, np.float64)
