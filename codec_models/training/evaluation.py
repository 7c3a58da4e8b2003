"""How good the upsampler is on clips it was not trained on: quick figures while it trains, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..hint_measure import measured
from ..landmarks import EYES, LIPS
from .data import WindowSampler
from .face_points import AT, eye_distance
from .losses import ssim
from .windows import Made, Windows

Predict = Callable[[Windows], Made]

_LIPS, _EYES = [AT[p] for p in LIPS], [AT[p] for p in EYES]


@dataclass(frozen=True, slots=True)
class Figures:
    """Means over clips. PSNR in dB; landmark distances in distances of the outer eye corners; correlations over a clip.

    Full: with hints and voice; bare: with neither; voice: with the voice alone.
    """

    psnr: float
    psnr_bare: float
    psnr_warped: float
    psnr_still_colour: float
    psnr_bicubic: float
    ssim: float
    ssim_still_colour: float
    ssim_bicubic: float
    landmarks: float
    landmarks_lips: float
    landmarks_eyes: float
    landmarks_bare: float
    landmarks_still: float
    mouth: float
    mouth_voice: float
    eyes: float
    eyes_bare: float

    def __str__(self) -> str:
        return (
            f"psnr {self.psnr:.2f} (bare {self.psnr_bare:.2f}, warped still {self.psnr_warped:.2f}; still-colour "
            f"{self.psnr_still_colour:.2f}, bicubic {self.psnr_bicubic:.2f}), ssim {self.ssim:.3f} (still-colour "
            f"{self.ssim_still_colour:.3f}, bicubic {self.ssim_bicubic:.3f}), landmarks {self.landmarks:.3f} (lips "
            f"{self.landmarks_lips:.3f}, eyes {self.landmarks_eyes:.3f}; bare {self.landmarks_bare:.3f}; still "
            f"{self.landmarks_still:.3f}), mouth correlation {self.mouth:.2f} (voice only {self.mouth_voice:.2f}), "
            f"eyes {self.eyes:.2f} (bare {self.eyes_bare:.2f})"
        )


def psnr(made: Tensor, truth: Tensor) -> Tensor:
    """(B,) dB of pictures in [-1, 1]."""
    return 10 * torch.log10(4 / ((made.clamp(-1, 1) - truth) ** 2).mean((1, 2, 3)).clamp_min(1e-10))


def enlarged(low: Tensor, side: int) -> Tensor:
    """Bicubic enlargement of 8x8 pictures (B, 3, 8, 8)."""
    return F.interpolate(low, size=(side, side), mode="bicubic", align_corners=False)


def correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson's, of two series (n,); None where one of them does not move."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale > 1e-9 else None


class Evaluation:
    """The same windows every time: ticks spread over each of at most `clips` clips, the first frame the still."""

    def __init__(self, sampler: WindowSampler, windows: int = 10, clips: int | None = None) -> None:
        self._sampler = sampler
        spread = np.linspace(0, len(sampler.corpus.clips) - 1, min(clips or 10**6, len(sampler.corpus.clips)))
        self._draws = []
        for k in sorted(set(spread.astype(int).tolist())):
            last = sampler.corpus.clips[k].frames - 1
            ticks = sorted(set(np.linspace(min(12, last), last, windows).astype(int).tolist()))
            self._draws.append(sampler.plain(k, ticks, [0]))

    @torch.no_grad()
    def run(self, predict: Predict, resolution: int, sheet: Path | None = None, most_rows: int = 14) -> Figures:
        """Measure, and write a picture of rows: still | 8x8 | bare | ours | truth."""
        rows: list[dict[str, float | None]] = []
        tiles = []
        for draw in self._draws:
            w = self._sampler.render(draw, resolution)
            side, truth = resolution, w.picture
            made, without, heard = predict(w), predict(w.bare()), predict(w.bare(voice=True))
            picture, bare, points = made.picture.float(), without.picture.float(), made.points
            bicubic, still = enlarged(w.low[:, -1], side), w.stills[:, 0]
            colour = still + enlarged(w.low[:, -1] - w.still_low[:, 0], side)
            true_hints = measured(w.points)
            hints, bare_hints, voice_hints = (measured(p.float()) for p in (points, without.points, heard.points))
            voiced = bool(w.has[0, 1])

            def distance(made: Tensor, index: list[int] | None = None, w: Windows = w) -> float:
                apart = (made.float() - w.points).norm(dim=-1) / eye_distance(w.points)[:, None]
                return float((apart if index is None else apart[:, index]).mean())

            def moves(made: Tensor, columns: list[int], true: Tensor = true_hints) -> float | None:
                return correlation(made[:, columns].sum(1), true[:, columns].sum(1))

            rows.append(
                {
                    "psnr": float(psnr(picture, truth).mean()),
                    "psnr_bare": float(psnr(bare, truth).mean()),
                    "psnr_warped": float(psnr(made.warped.float(), truth).mean()),
                    "psnr_still_colour": float(psnr(colour, truth).mean()),
                    "psnr_bicubic": float(psnr(bicubic, truth).mean()),
                    "ssim": float(ssim(picture.clamp(-1, 1), truth).mean()),
                    "ssim_still_colour": float(ssim(colour.clamp(-1, 1), truth).mean()),
                    "ssim_bicubic": float(ssim(bicubic.clamp(-1, 1), truth).mean()),
                    "landmarks": distance(points),
                    "landmarks_lips": distance(points, _LIPS),
                    "landmarks_eyes": distance(points, _EYES),
                    "landmarks_bare": distance(without.points),
                    "landmarks_still": distance(w.still_points[:, 0]),
                    "mouth": moves(hints, [0]),
                    "mouth_voice": moves(voice_hints, [0]) if voiced else None,
                    "eyes": moves(hints, [2, 3]),
                    "eyes_bare": moves(bare_hints, [2, 3]),
                }
            )
            h = len(truth) // 2
            tiles.append(torch.cat([still[h], bicubic[h], bare[h], picture[h], truth[h]], 2).cpu())
        if sheet is not None:
            step = max(1, -(-len(tiles) // most_rows))
            whole = torch.cat(tiles[::step], 1).clamp(-1, 1).permute(1, 2, 0)
            Image.fromarray(((whole + 1) * 127.5).round().to(torch.uint8).numpy()).save(sheet)
        means = {
            name: float(np.mean(known)) if (known := [v for r in rows if (v := r[name]) is not None]) else float("nan")
            for name in rows[0]
        }
        return Figures(**means)
