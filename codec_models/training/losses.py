"""What the upsampler is trained to do, without any pretrained network.

The paper (av-upsampler section 3.2, eq. 2 and 4) adds the error of four regions with weight 100. Regions are small
(in a picture of a clip the box around the lips covers 3.5 %, an eye 1.3 %, a brow 2 %, the nose 3 %), so a mean over a
region with weight w weighs each of its pixels 30 to 80 times w as much as the mean over the picture does. With the
weights below a pixel of the lips weighs about 20 times as much as one of the wall, of the eyes 35, of the nose 6; of
the squared error on clips of other people three quarters lie outside the face (`benchmarks/loss_map.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..hint_measure import measured
from ..landmarks import BROWS, EYES, IRISES, LIPS, NOSE
from .face_points import AT, eye_distance
from .windows import Made, Windows


def _at(points: tuple[int, ...]) -> list[int]:
    return [AT[p] for p in points]


REGIONS = {
    "lips": _at(LIPS),
    "left eye": _at(EYES[:6]),
    "right eye": _at(EYES[6:]),
    "left brow": _at(BROWS[:5]),
    "right brow": _at(BROWS[5:]),
    "nose": _at(NOSE[1:4] + NOSE[7:]),
}
_MARGIN = {"lips": 0.14, "left eye": 0.1, "right eye": 0.1, "left brow": 0.06, "right brow": 0.06, "nose": 0.1}
"""Widening of each region's box, in distances of the outer eye corners."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms; those of regions count for the mean over each region. motion: of `true_motion.py`."""

    l1: float = 2.0
    pyramid: float = 0.8
    ssim: float = 0.3
    gradient: float = 0.5
    face: float = 1.5
    lips: float = 1.5
    eyes: float = 1.4
    brows: float = 0.2
    nose: float = 0.2
    warped: float = 0.5
    motion: float = 3.0
    still_points: float = 1.0
    coarse: float = 0.3
    adversarial: float = 0.15
    features: float = 3.0
    sync: float = 0.03
    readings: float = 0.1
    likeness: float = 0.2
    distil: float = 0.5
    distil_flow: float = 10.0

    def region(self, name: str) -> float:
        return {"lips": self.lips, "nose": self.nose}.get(name, self.eyes if name.endswith("eye") else self.brows)


def box_mask(points: Tensor, resolution: int, margin: Tensor, softness: float = 12.0) -> Tensor:
    """Soft box around landmarks (B, K, 2) in [-1, 1], widened by margin (B,): (B, 1, R, R)."""
    low, high = points.amin(1) - margin[:, None], points.amax(1) + margin[:, None]
    at = (torch.arange(resolution, device=points.device) + 0.5) / resolution * 2 - 1
    sharp = softness / margin.clamp_min(1e-3)[:, None]
    x = torch.sigmoid((at - low[:, :1]) * sharp) * torch.sigmoid((high[:, :1] - at) * sharp)
    y = torch.sigmoid((at - low[:, 1:]) * sharp) * torch.sigmoid((high[:, 1:] - at) * sharp)
    return y[:, None, :, None] * x[:, None, None, :]


def pixel_weights(points: Tensor, resolution: int, weights: LossWeights) -> Tensor:
    """How much more each pixel counts for being in the face and its regions, (B, 1, R, R); no gradient."""
    with torch.no_grad():
        eye = eye_distance(points)
        face = box_mask(points, resolution, 0.1 * eye)
        total = weights.face * face / face.mean((2, 3), keepdim=True).clamp_min(0.02)
        for name, index in REGIONS.items():
            mask = box_mask(points[:, index], resolution, _MARGIN[name] * eye)
            total = total + weights.region(name) * mask / mask.mean((2, 3), keepdim=True).clamp_min(0.004)
    return total


_WINDOW = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))


def ssim(a: Tensor, b: Tensor, span: float = 2.0) -> Tensor:
    """Mean structural similarity (B,) of pictures (B, C, R, R) whose values span `span` (Wang et al. 2004)."""
    c = a.shape[1]
    window = (_WINDOW / _WINDOW.sum()).to(a)

    def smooth(x: Tensor) -> Tensor:
        x = F.conv2d(x, window.view(1, 1, 1, -1).expand(x.shape[1], -1, -1, -1), groups=x.shape[1])
        return F.conv2d(x, window.view(1, 1, -1, 1).expand(x.shape[1], -1, -1, -1), groups=x.shape[1])

    moments = smooth(torch.cat([a, b, a * a, b * b, a * b], 1))
    ma, mb, aa, bb, ab = torch.split(moments, c, 1)
    va, vb, cov = aa - ma * ma, bb - mb * mb, ab - ma * mb
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    values: Tensor = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return values.mean((1, 2, 3))


_LUMA = torch.tensor([0.299, 0.587, 0.114])


def luma(pictures: Tensor) -> Tensor:
    """(B, 3, R, R) -> (B, 1, R, R)."""
    return torch.einsum("c,bcyx->byx", _LUMA.to(pictures), pictures)[:, None]


def gradient_loss(a: Tensor, b: Tensor) -> Tensor:
    """L1 between the differences of neighbouring pixels."""
    d = a - b
    return (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


def pyramid_loss(a: Tensor, b: Tensor) -> Tensor:
    """Sum of L1 between pictures at a half, a quarter and an eighth of their size."""
    return torch.stack([F.l1_loss(F.avg_pool2d(a, s), F.avg_pool2d(b, s)) for s in (2, 4, 8)]).sum()


_POINT_WEIGHT = torch.ones(110)
_POINT_WEIGHT[_at(LIPS)] = 2.5
_POINT_WEIGHT[_at(EYES)] = 3.0
_POINT_WEIGHT[_at(IRISES)] = 2.0
_OPENING_WEIGHT = torch.tensor([2.0, 1.0, 4.0, 4.0, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
"""Of mouth opening and width, both eyes and the gaze: an eye opens by a fifth of what a mouth does. The pose of
the head needs none, it is what most of the distance of the landmarks is."""


def point_loss(made: Tensor, truth: Tensor) -> Tensor:
    """Mean distance of landmarks (B, 110, 2), lips and eyelids above all, in distances of the outer eye corners."""
    weight = (_POINT_WEIGHT / _POINT_WEIGHT.mean()).to(truth)
    apart: Tensor = torch.linalg.vector_norm(made - truth, dim=-1)
    return (apart * weight / eye_distance(truth)[:, None]).mean()


def opening_loss(made: Tensor, truth: Tensor) -> Tensor:
    """L1 between the hints that follow from the landmarks: mouth and lids must open as far as they do in truth."""
    return ((measured(made) - measured(truth)).abs() * _OPENING_WEIGHT.to(truth)).mean()


def plain_losses(made: Made, w: Windows, weights: LossWeights) -> dict[str, Tensor]:
    """Weighted terms of one batch, landmarks left out (`landmarks.py` trains them).

    Their sum is the loss; each is zero where everything equals the truth.
    """
    picture, warped, _, coarse, still_points, _ = (t.float() for t in made)
    truth, true_points = w.picture, w.points
    side = truth.shape[-1]
    importance = pixel_weights(true_points, side, weights)
    apart = (picture - truth).abs()
    terms = {
        "l1": weights.l1 * apart.mean(),
        "region": (apart * importance).mean(),
        "gradient": weights.gradient * gradient_loss(picture, truth),
        "still points": weights.still_points * point_loss(still_points.flatten(0, 1), w.still_points.flatten(0, 1)),
        "coarse": weights.coarse * F.l1_loss(coarse, F.adaptive_avg_pool2d(truth, coarse.shape[-1])),
        "warped": weights.warped * ((warped - truth).abs() * (1 + 0.3 * importance)).mean(),
    }
    terms["pyramid"] = weights.pyramid * pyramid_loss(picture, truth)
    if weights.ssim:
        a, b = luma(picture), luma(truth)
        alike = []
        for _ in range(3 if side >= 128 else 2):
            alike.append(1 - ssim(a, b).mean())
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        terms["ssim"] = weights.ssim * torch.stack(alike).mean()
    return terms


def distillation_losses(made: Made, taught: Made, w: Windows, weights: LossWeights) -> dict[str, Tensor]:
    """Weighted terms that pull what a student makes to what its teacher makes of the same windows (superface, section
    3.2): the picture, with as much weight on face and regions as the truth has (so `distil` is the teacher's weight
    against the truth's), and the motion fields, in the face above all, where they are not arbitrary.

    Each is zero where the two are equal. No gradient reaches the teacher.
    """
    picture, aim = made.picture.float(), taught.picture.detach().float()
    importance = pixel_weights(w.points, picture.shape[-1], weights)
    apart = (picture - aim).abs()
    near = weights.l1 * apart.mean() + (apart * importance).mean() + weights.pyramid * pyramid_loss(picture, aim)
    face = box_mask(w.points, made.flow.shape[-1], 0.1 * eye_distance(w.points))[:, None]
    flow = (made.flow.float() - taught.flow.detach().float()).abs() * (0.1 + face)
    return {"distil": weights.distil * near, "distil flow": weights.distil * weights.distil_flow * flow.mean()}
