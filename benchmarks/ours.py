"""Our own codec on a clip: the whole path of a call without the network.

Tracker's picture and landmarks -> 8x8 area average and hints -> FaceEncoder -> bytes -> FaceDecoder -> Reconstructor,
which got the first picture of the clip as identity still, encoded and decoded. The rate is the whole bytes a tick that
a packet carries; the stills are counted apart. The voice is the clip's own, not through Opus.

Where there are several stills, the others are taken at equal distances along the clip, and each is known `STILL_DELAY`
ticks after it was taken, as it takes its time to arrive in a call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.face import DEFAULT, FaceConfig, FaceDecoder, FaceEncoder, FaceTick, Profile, area_8x8
from codec_models.bitstream.still import IdentityStill, decode_still, encode_still
from codec_models.bitstream.timing import PICTURE, TICKS_PER_SECOND, kbps
from codec_models.reconstruction import LOOKAHEAD, Reconstructor, StillColour, enlarge

from .clips import Clip
from .metrics import psnr
from .report import Row

Fps = Literal[25, 5]
NAMES = ("ours-25", "ours-25-nohints", "ours-5", "ours-5-nohints")
VARIANTS = (
    "ours-25-noaudio",
    "ours-25-nohints-noaudio",
    "ours-25-noteeth",
    "ours-25-stills3",
    "ours-5-noaudio",
    "ours-5-hold",
    "ours-5-lookahead0",
    "ours-5-lookahead1",
)
BASELINES = ("bicubic", "still", "still-colour")
STILL_DELAY = TICKS_PER_SECOND
LENGTHS = {"kbps_10s": 10.0, "kbps_10min": 600.0}
"""Figure -> length in seconds of the call over which its start is spread."""
DEFINITIONS = {
    "kbps": "whole video over the clip: of ours faces and hints without the still, of others with their first picture",
    "kbps_with_still": "the same with the stills",
    "kbps_after_first": "of others: what follows their first, intra-coded picture",
    "kbps_10s": "in a call of 10 s, with what it needs once: of ours kbps and the stills, of others kbps_after_first "
    "and the first picture",
    "kbps_10min": "the same in a call of 10 minutes",
}
_NAME = re.compile(
    r"ours-(25|5)(?:-(full|lean))?(?:-q(\d|1[0-5]))?(?:-w(\d+(?:\.\d+)?))?"
    r"(-nohints)?(-noaudio)?(-noteeth)?(?:-(hold|lookahead[01]))?(?:-stills([2-8]))?"
)


@dataclass(frozen=True)
class Variant:
    """What a name such as "ours-25-nohints-noaudio", "ours-5-lookahead1" or "ours-25-lean-q12" stands for.

    lookahead: frames that interpolation waits for at 5 fps, None where each frame holds until the next comes.
    profile: None for that of the `OurCodec`; quality, rate_weight: of `FaceConfig`.
    """

    fps: Fps
    hints: bool = True
    audio: bool = True
    teeth: bool = True
    lookahead: int | None = LOOKAHEAD
    stills: int = 1
    profile: Profile | None = None
    quality: int = DEFAULT
    rate_weight: float = DEFAULT

    @classmethod
    def named(cls, name: str) -> Variant:
        """Raises ValueError where the name is none of ours."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"no codec of ours is called {name}")
        fps, profile, quality, weight, nohints, noaudio, noteeth, between, stills = match.groups()
        lookahead = LOOKAHEAD if between is None else None if between == "hold" else int(between[-1])
        hints, audio, teeth = (part is None for part in (nohints, noaudio, noteeth))
        return cls(
            cast(Fps, int(fps)),
            hints,
            audio,
            teeth,
            lookahead,
            int(stills or 1),
            cast(Profile | None, profile),
            DEFAULT if quality is None else int(quality),
            DEFAULT if weight is None else float(weight),
        )

    def face_config(self, profile: Profile) -> FaceConfig:
        """The settings of its 8x8 layer. profile: where the name gives none."""
        return FaceConfig(self.profile or profile, self.quality, self.fps, self.hints, rate_weight=self.rate_weight)

    @property
    def still_share(self) -> list[float]:
        """Where along the clip the stills are taken, 0 to 1."""
        return [k / self.stills for k in range(self.stills)]


def is_ours(name: str) -> bool:
    """Whether `OurCodec.run` knows the name."""
    return name in BASELINES or _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class FaceStream:
    """The 8x8 layer of a clip. faces: bytes per tick; ticks: as decoded; originals: (N, 8, 8, 3) before coding."""

    config: FaceConfig
    faces: list[bytes]
    ticks: list[FaceTick]
    originals: NDArray[np.uint8]

    @property
    def total_bytes(self) -> int:
        return sum(map(len, self.faces))

    @property
    def coded(self) -> list[int]:
        """The ticks that have a picture."""
        return [k for k, tick in enumerate(self.ticks) if tick.picture is not None]

    def decoded(self) -> NDArray[np.uint8]:
        """(M, 8, 8, 3) uint8 RGB: the decoded pictures of the coded ticks."""
        pictures = [t.picture for t in self.ticks if t.picture is not None]
        return np.stack(pictures) if pictures else np.zeros((0, 8, 8, 3), np.uint8)


def code_faces(clip: Clip, config: FaceConfig, clock: Callable[[str], None] | None = None) -> FaceStream:
    """Encode and decode the 8x8 frames of a clip, and its hints, which go with every tick even at 5 fps.

    clock: called with "start", "encode" and "decode" around both steps of every tick.
    """
    encoder, decoder = FaceEncoder(config), FaceDecoder()
    every = TICKS_PER_SECOND // config.fps
    originals = np.stack([area_8x8(frame) for frame in clip.frames])
    tell = clock if clock is not None else _ignore
    faces, ticks = [], []
    for k, low in enumerate(originals):
        shown = k % every == 0
        hints = clip.hints_at(k) if config.hints else None
        tell("start")
        data = encoder.encode(low if shown else None, hints)
        tell("encode")
        ticks.append(decoder.decode(data))
        tell("decode")
        faces.append(data)
    return FaceStream(config, faces, ticks, originals)


def _ignore(what: str) -> None:
    pass


@dataclass
class OurCodec:
    """All of our codec names on one clip; streams and stills are coded once and shared.

    reconstructor: makes a new one for a variant in every run, so that nothing of a run before is left in it.
    """

    clip: Clip
    profile: Profile = "full"
    reconstructor: Callable[[Variant], Reconstructor] = lambda variant: StillColour()
    _streams: dict[FaceConfig, FaceStream] = field(default_factory=dict)
    _stills: dict[int, tuple[bytes, IdentityStill]] = field(default_factory=dict)
    _backends: dict[str, str] = field(default_factory=dict)

    def run(self, name: str) -> tuple[NDArray[np.uint8], Row]:
        """The reconstructed frames (N, 256, 256, 3) and the figures of the rate. name: one of `BASELINES`, or what
        `Variant` knows. Raises ValueError.
        """
        if name == "still":
            picture = self.still[1].picture
            return np.repeat(picture[None], len(self.clip.frames), 0), self._rate(0, len(self.still[0]))
        if name in BASELINES:
            stream, plain = self.stream(25, False), Variant(25, hints=False)
            model: Reconstructor = Enlarged() if name == "bicubic" else StillColour()
            stills = 0 if name == "bicubic" else len(self.still[0])
            return self._reconstruct(stream, model, plain), self._figures(stream, stills)
        variant = Variant.named(name)
        stream = self.stream_of(variant)
        drawing = self.reconstructor(variant)
        self._backends[name] = f"{drawing.backend} on {drawing.device}"
        frames = self._reconstruct(stream, drawing, variant)
        return frames, self._figures(stream, sum(len(self._still_at(k)[0]) for k in self._still_ticks(variant)))

    def settings(self, name: str) -> str:
        """One line that says how the figures of `name` come about, after a run of it."""
        if name == "still":
            return f"identity still only, {len(self.still[0])} B"
        variant = Variant(25, hints=False) if name in BASELINES else Variant.named(name)
        config = variant.face_config(self.profile)
        line = f"{config.profile} profile, quality {config.quality}, {config.fps} fps, hints {_on(config.hints)}"
        if variant.rate_weight != DEFAULT:
            line += f", rate weight {config.rate_weight:g}"
        if name in BASELINES:
            return f"{line}; {'8x8 enlarged bicubically, no still' if name == 'bicubic' else 'still with 8x8 colours'}"
        stills = "" if variant.stills == 1 else f", {variant.stills} stills, each known 1 s after it was taken"
        if variant.fps == 5:
            ahead = {None: "frames held", 0: "interpolated ahead", 1: "interpolated 200 ms later"}
            line += f", {ahead[variant.lookahead]}"
        return f"{line}, voice {_on(variant.audio)}{stills}; reconstruction {self._backends[name]}"

    @property
    def still(self) -> tuple[bytes, IdentityStill]:
        """The clip's first picture: as encoded and as the receiver has it."""
        return self._still_at(0)

    def _still_at(self, tick: int) -> tuple[bytes, IdentityStill]:
        if tick not in self._stills:
            data = encode_still(IdentityStill(self.clip.frames[tick], self.clip.points_at(tick)))
            self._stills[tick] = data, decode_still(data)
        return self._stills[tick]

    def _still_ticks(self, variant: Variant) -> list[int]:
        """When the stills are taken. Those that would not arrive before the clip ends are left out."""
        count = len(self.clip.frames)
        taken = [int(share * count) for share in variant.still_share]
        return [k for k in taken if k == 0 or k + STILL_DELAY < count]

    def stream(self, fps: Fps, hints: bool) -> FaceStream:
        """The 8x8 layer in the default quality, coded on first use."""
        return self.stream_of(Variant(fps, hints))

    def stream_of(self, variant: Variant) -> FaceStream:
        """The 8x8 layer of a variant, coded on first use."""
        return self._coded(variant.face_config(self.profile))

    def _coded(self, config: FaceConfig) -> FaceStream:
        if config not in self._streams:
            self._streams[config] = code_faces(self.clip, config)
        return self._streams[config]

    def _reconstruct(self, stream: FaceStream, model: Reconstructor, variant: Variant) -> NDArray[np.uint8]:
        model.set_identity(self.still[1])
        model.fps = stream.config.fps
        model.reset()
        arrivals = {k + STILL_DELAY: k for k in self._still_ticks(variant) if k}
        out = []
        for k, (tick, voice) in enumerate(zip(stream.ticks, self.clip.voice, strict=True)):
            if k in arrivals:
                model.set_identity(self._still_at(arrivals[k])[1])
            out.append(model.tick(tick, voice if variant.audio else None))
        out += [model.tick(FaceTick(None, None), None) for _ in range(model.delay)]
        return np.stack(out[model.delay :])

    def _figures(self, stream: FaceStream, still_bytes: int) -> Row:
        row = self._rate(stream.total_bytes, still_bytes)
        coded = stream.coded
        row["face_bits_per_frame"] = 8 * stream.total_bytes / max(len(coded), 1)
        if coded:
            row["face_psnr"] = psnr(stream.originals[coded], stream.decoded())
        if stream.config.hints:
            without = self._coded(replace(stream.config, hints=False))
            row["hint_kbps"] = kbps(stream.total_bytes - without.total_bytes, self.clip.seconds)
        return row

    def _rate(self, face_bytes: int, still_bytes: int) -> Row:
        row = rate(face_bytes, len(self.clip.frames), still_bytes)
        if still_bytes:
            row["identity_bytes"] = still_bytes
        return row | spread(row["kbps"], still_bytes)


class Enlarged:
    """The received 8x8 frame, enlarged: what there is without a still."""

    backend = "bicubic"
    device = "cpu"
    delay = 0
    fps: int | None = None

    def __init__(self) -> None:
        self._low = np.full((8, 8, 3), 128, np.float32)
        self.spent: dict[str, float] = {}

    def set_identity(self, still: IdentityStill) -> None:
        """It uses none."""

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        if face.picture is not None:
            self._low = face.picture.astype(np.float32)

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        self.take(face, voice)
        return np.asarray(np.clip(enlarge(self._low) + 0.5, 0, 255), np.uint8)

    def reset(self) -> None:
        self._low = np.full((8, 8, 3), 128, np.float32)


def rate(total_bytes: int, frames: int, still_bytes: int = 0) -> Row:
    """kbps and bpp of a stream of 256x256 frames at 25 fps, without and with a still amortised over the clip."""
    seconds = frames / TICKS_PER_SECOND
    pixels = frames * PICTURE * PICTURE
    return {
        "kbps": kbps(total_bytes, seconds),
        "kbps_with_still": kbps(total_bytes + still_bytes, seconds),
        "bpp": 8 * total_bytes / pixels,
        "bpp_with_still": 8 * (total_bytes + still_bytes) / pixels,
    }


def spread(running_kbps: float, start_bytes: int) -> Row:
    """The figures of `LENGTHS`: a stream of this rate after a start of so many bytes, which it needs once."""
    return {figure: running_kbps + kbps(start_bytes, seconds) for figure, seconds in LENGTHS.items()}


def _on(value: bool) -> str:
    return "on" if value else "off"
