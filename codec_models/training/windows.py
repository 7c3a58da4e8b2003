"""One training batch, as tensors; the names and shapes are those of the upsampler's inputs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

from torch import Tensor

WINDOW = 5
"""8x8 pictures that the network sees: those of the current tick and of the four before."""
MEL_ROWS = 16


@dataclass(frozen=True, slots=True)
class Windows:
    """B windows with S stills each; pictures and landmarks in [-1, 1], R the resolution of the batch.

    low (B, 5, 3, 8, 8); stills (B, S, 3, R, R); still_low (B, S, 3, 8, 8); still_points (B, S, 110, 2) and
    still_found (B, S): 0 where a still comes without its landmarks, which are here all the same; mel (B, 80, 16);
    hints (B, 12); has (B, 2): 1 where hints, voice are given. Truth: picture (B, 3, R, R), points (B, 110, 2).
    """

    low: Tensor
    stills: Tensor
    still_low: Tensor
    still_points: Tensor
    still_found: Tensor
    mel: Tensor
    hints: Tensor
    has: Tensor
    picture: Tensor
    points: Tensor

    def __len__(self) -> int:
        return len(self.low)

    def bare(self, hints: bool = False, voice: bool = False) -> Windows:
        """The same windows without hints or without voice."""
        keep = self.has.new_tensor([float(hints), float(voice)])
        has = self.has * keep
        return Windows(
            self.low,
            self.stills,
            self.still_low,
            self.still_points,
            self.still_found,
            self.mel * has[:, 1, None, None],
            self.hints * has[:, :1],
            has,
            self.picture,
            self.points,
        )

    def tensors(self) -> dict[str, Tensor]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Made(NamedTuple):
    """What a network makes of windows: picture, warped still (B, 3, R, R), landmarks (B, 110, 2), the coarse picture of
    the backbone (B, 3, 32, 32), the stills' landmarks (B, S, 110, 2), guessed where they were not given, and where in
    each still every place is found, flow (B, S, 2, 64, 64) in [-1, 1] units.
    """

    picture: Tensor
    warped: Tensor
    points: Tensor
    coarse: Tensor
    still_points: Tensor
    flow: Tensor
