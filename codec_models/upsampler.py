"""The upsampler: 8x8 window, voice, hints and one or several stills -> one 256x256 frame (av-upsampler, section 3).

Shape: visual encoder and audio encoder -> iterative up/down projection -> landmarks and motion -> three-pathway
decoder -> colour consistency. Pictures are in [-1, 1]. One definition, three sizes: `LIVE` for a CPU core or a
browser, `TEACHER` that it can learn from, `PAPER` with the paper's 512 channels.

Where it departs from the paper: one frame is drawn from the T = 5 up to it (the paper draws all five, a call needs the
last); voice and picture features are added after a linear layer instead of concatenated before one; and landmarks
that are supervised take the place of FOMM's learned keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .audio_encoder import AudioEncoder
from .decoder import Decoder
from .hint_measure import SCALE, measured, normalised
from .landmark_head import CONDITIONS, LandmarkHead, StillLandmarks
from .layers import CrossAttention, Picture8x8, Residual, channels_last, conv, unfolded
from .motion import FINE, FLOW, SparseMotion
from .projection import IterativeProjection
from .still_encoder import StillEncoder, StillPyramid
from .visual_encoder import VisualEncoder
from .weight_files import filled

_COARSE = 32
DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "upsampler.safetensors"


@dataclass(frozen=True, slots=True)
class UpsamplerConfig:
    """width: channels at 256x256; the deepest features have eight times as many. window: T, frames of 8x8.

    visual, visual_blocks: channels and residual blocks of the 3-D stack. audio, audio_blocks: channels, and residual
    blocks at each of its two rates. repeats: (down, up) projections after the first up.
    """

    width: int = 8
    window: int = 5
    visual: int = 24
    visual_blocks: int = 2
    audio: int = 64
    audio_blocks: int = 1
    repeats: int = 1


LIVE = UpsamplerConfig()
PAPER = UpsamplerConfig(width=64, visual=512, visual_blocks=1, audio=512, audio_blocks=1)
TEACHER = UpsamplerConfig(width=16, visual=48)
"""Twice as wide as `LIVE`, so that it can start from its weights (`training/widen.py`); for training alone."""
CONFIGS = {"live": LIVE, "paper": PAPER, "teacher": TEACHER}


@dataclass(frozen=True, slots=True)
class IdentityFeatures:
    """What is known of the stills, made once; every tensor begins with (B, S).

    points (110, 2) in [-1, 1]; low (3, 8, 8); hints (12,) raw, measured on the points; visual (c, 8, 8); memory
    (layers, 256, 2 c), keys and values; the rest as in `StillPyramid`.
    """

    points: Tensor
    low: Tensor
    hints: Tensor
    visual: Tensor
    memory: Tensor
    at32: Tensor
    at64: Tensor
    moved64: Tensor
    moved128: Tensor
    moved256: Tensor
    fixed64: Tensor
    fixed128: Tensor
    fixed256: Tensor

    @property
    def stills(self) -> int:
        return self.points.shape[1]

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them in the order of the fields: `IdentityFeatures(*identity.tensors())` is the same again."""
        return tuple(cast(Tensor, getattr(self, f.name)) for f in fields(self))

    def kept(self) -> IdentityFeatures:
        """The same for many ticks: those that are sampled and masked in the type and layout in which that is quick."""
        first = [f.name for f in fields(self)].index("at32")
        tensors = self.tensors()
        return IdentityFeatures(*tensors[:first], *(t.float().contiguous() for t in tensors[first:]))

    @classmethod
    def together(cls, parts: Sequence[IdentityFeatures]) -> IdentityFeatures:
        """Several stills as one identity."""
        return cls(*(torch.cat(t, 1) for t in zip(*(p.tensors() for p in parts), strict=True)))


@dataclass(frozen=True, slots=True)
class UpsamplerOutput:
    """picture (B, 3, 256, 256), float32, not clipped; warped: the aligned still alone, same shape; points
    (B, 110, 2) in [-1, 1]; coarse (B, 3, 32, 32): what the backbone makes without the still, for a loss of its own
    (the paper's F_int); flow (B, S, 2, 64, 64) in [-1, 1] units; weights (B, S, 64, 64) of the stills, None with one.
    """

    picture: Tensor
    warped: Tensor
    points: Tensor
    coarse: Tensor | None
    flow: Tensor
    weights: Tensor | None


class Upsampler(nn.Module):
    def __init__(self, config: UpsamplerConfig = LIVE) -> None:
        super().__init__()
        self.config = config
        w, c = config.width, 8 * config.width
        self.still = StillEncoder(w)
        self.still_landmarks = StillLandmarks(c)
        self.visual = VisualEncoder(config.window, c, config.visual, config.visual_blocks)
        self.audio = AudioEncoder(config.audio, config.audio_blocks)
        self.voice, self.condition = nn.Linear(self.audio.outputs, c), nn.Linear(CONDITIONS, c)
        self.landmarks = LandmarkHead(config.window)
        self.sparse = SparseMotion()
        self.log_closeness = nn.Parameter(torch.tensor(4.6))
        self.project = IterativeProjection(c, config.repeats)
        self.coarse = conv(c, 12)
        self.position = nn.Parameter(torch.randn(1, c, 16, 16) * 0.1)
        self.look, self.mix = (
            nn.ModuleList(CrossAttention(c) for _ in range(2)),
            nn.ModuleList(Residual(c) for _ in range(2)),
        )
        self.decoder = Decoder(w)
        self.enlarge = Picture8x8()

    def encode_stills(
        self, stills: Tensor, still_low: Tensor, still_points: Tensor | None, has_points: Tensor | None = None
    ) -> IdentityFeatures:
        """stills (B, S, 3, 256, 256) and their 8x8 averages (B, S, 3, 8, 8) in [-1, 1], landmarks (B, S, 110, 2).

        Landmarks may be missing: still_points None, or has_points (B, S) 0 for some. Then they are guessed from the
        still, an average face at worst, and the motion is accordingly rough.
        """
        several = stills.shape[:2]
        pyramid = StillPyramid(*self.still(stills.flatten(0, 1)))
        low = still_low.flatten(0, 1)
        if still_points is None or has_points is not None:
            guess = unfolded(self.still_landmarks(pyramid.deepest), several)
            if still_points is None:
                still_points = guess
            elif has_points is not None:
                still_points = torch.where(has_points[:, :, None, None] > 0, still_points, guess)
        placed = pyramid.deepest + self.position
        memory = torch.stack([cast(CrossAttention, look).remember(placed) for look in self.look], 1)
        parts = (self.visual.remember(low), memory, *pyramid[1:])
        return IdentityFeatures(still_points, still_low, measured(still_points), *(unfolded(t, several) for t in parts))

    def forward(
        self, identity: IdentityFeatures, low: Tensor, mel: Tensor, hints: Tensor, has: Tensor, coarse: bool = True
    ) -> UpsamplerOutput:
        """One tick; the coarse picture serves training only. low (B, T, 3, 8, 8) in [-1, 1], the last is the current
        one; mel (B, 80, 16) in [-1, 1]; hints (B, 12) raw; has (B, 2): 1 where hints, voice are given.
        """
        voiced = has[:, 1:]
        closeness = self._closeness(low[:, -1], identity.low)
        audio = self.audio(mel) * voiced
        change, condition = hint_condition(hints, has, identity.hints)
        x = self.visual(low, _average(identity.visual, closeness))
        x = x + (self.condition(_average(condition, closeness)) + self.voice(audio) * voiced)[:, :, None, None]
        points = _average(self.landmarks(low, identity.low, identity.points, mel, change, condition), closeness)
        high = self.project(x)
        rough = self._rough(high, low[:, -1]) if coarse else None
        y = high + self.position
        for k, (look, mix) in enumerate(zip(self.look, self.mix, strict=True)):
            y = mix(look(y, identity.memory[:, :, k].flatten(1, 2)))
        pyramid = StillPyramid(y, *identity.tensors()[5:])
        flow, fine = (self.sparse(points, identity.points, size) for size in (FLOW, FINE))
        drawn = self.decoder(y, pyramid, flow, fine, closeness)
        picture = self.consistent(drawn.picture, low[:, -1])
        return UpsamplerOutput(picture, drawn.still, points, rough, drawn.flow, drawn.weights)

    def _rough(self, high: Tensor, low: Tensor) -> Tensor:
        """(B, 3, 32, 32) from the backbone's features alone."""
        own = F.pixel_shuffle(self.coarse(high), 2).float()
        return own + F.interpolate(low, size=(_COARSE, _COARSE), mode="bilinear", align_corners=False)

    def consistent(self, picture: Tensor, low: Tensor) -> Tensor:
        """Pull the picture's own 8x8 average to the received one: light and colour that the still cannot know."""
        return picture + cast(Tensor, self.enlarge(low - F.avg_pool2d(picture, picture.shape[-1] // 8)))

    def _closeness(self, low: Tensor, still_low: Tensor) -> Tensor:
        """Log weight (B, S) of each still by how near its 8x8 frame is to the current one; (B, 1) zeros with one."""
        if still_low.shape[1] == 1:
            return low.new_zeros(low.shape[0], 1)
        apart = (low[:, None] - still_low).square().mean((2, 3, 4))
        return F.log_softmax(-self.log_closeness.exp() * apart.float(), 1)


def hint_condition(hints: Tensor, has: Tensor, still_hints: Tensor) -> tuple[Tensor, Tensor]:
    """Raw hints (B, 12), has (B, 2) and the stills' own hints (B, S, 12) -> their change (B, S, 12), zero where hints
    are missing, and (B, S, 26): normalised change and hints, and has.
    """
    given = has[:, :1]
    change = (hints[:, None] - still_hints) * given[:, None]
    now = torch.cat([normalised(hints) * given, has], 1)[:, None].expand(-1, still_hints.shape[1], -1)
    return change, torch.cat([change * change.new_tensor(SCALE), now], 2)


def _average(features: Tensor, closeness: Tensor) -> Tensor:
    """(B, S, ...) averaged over the stills -> (B, ...)."""
    if features.shape[1] == 1:
        return features[:, 0]
    return (features * closeness.exp().view(*closeness.shape, *[1] * (features.dim() - 2)).to(features.dtype)).sum(1)


def load_upsampler(path: Path | None = None, config: UpsamplerConfig = LIVE) -> Upsampler:
    """The network with weights from a safetensors file of exactly its parameters, ready to run; those that come with
    the program by default. Raises UserError.
    """
    return channels_last(filled(Upsampler(config), path or DEFAULT_WEIGHTS))


def still_part(name: str) -> bool:
    """Whether a parameter works once a still, not once a tick."""
    return name.startswith(("still.", "still_landmarks.", "visual.still.")) or ".kv." in name
