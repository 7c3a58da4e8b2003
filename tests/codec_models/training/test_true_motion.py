from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import torch.nn.functional as F
from torch import Tensor

from codec_models.motion import warped
from codec_models.training.augment import transformed, transformed_points
from codec_models.training.corpus import Corpus
from codec_models.training.data import WindowSampler
from codec_models.training.true_motion import motion_loss, true_motion
from codec_models.training.windows import Windows

pytestmark = pytest.mark.unit

SIDE = 256
SHIFT = 24 / 128
"""24 pixels to the right."""


def textured() -> Tensor:
    noise = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return F.interpolate(noise, size=(SIDE, SIDE), mode="bicubic", align_corners=False).clamp(-1, 1)


def moved(corpus: Corpus, covered: bool = False) -> Windows:
    """Windows whose picture is the still, 24 pixels further right; covered: its lower half is something else."""
    w = WindowSampler(corpus, seed=2).batch(2, SIDE)
    still = textured()
    place = torch.eye(3).repeat(2, 1, 1)
    place[:, 0, 2] = -SHIFT
    picture = transformed(still, place)
    if covered:
        picture[:, :, SIDE // 2 :] = still.flip(0, 2, 3)[:, :, SIDE // 2 :]
    return replace(
        w,
        stills=still[:, None],
        still_points=w.still_points[:, :1],
        still_low=w.still_low[:, :1],
        picture=picture,
        points=transformed_points(w.still_points[:, 0], place),
    )


@pytest.fixture
def shifted(corpus: Corpus) -> Windows:
    return moved(corpus)


def test_finds_a_shift_that_no_gradient_would_see(shifted: Windows) -> None:
    flow, known = true_motion(shifted)
    assert flow.shape == (2, 1, 2, 64, 64) and known.shape == (2, 1, 64, 64)
    inside = known[..., 8:-8, 16:-8]
    assert float(inside.mean()) > 0.9 and float(known.min()) >= 0 and float(known.max()) <= 1
    sure = inside > 0.9  # left of it lies the reflected edge, which is found too, the other way round
    x, y = flow[:, :, 0, 8:-8, 16:-8][sure], flow[:, :, 1, 8:-8, 16:-8][sure]
    assert float((x + SHIFT).abs().mean()) * 128 < 0.5 and float(y.abs().mean()) * 128 < 0.5
    still = shifted.stills[:, 0]
    before, after = (
        (t - shifted.picture)[..., 32:-32, 64:-32].abs().mean() for t in (still, warped(still, flow[:, 0]))
    )
    assert float(after) < 0.2 * float(before)


def test_what_is_not_in_the_still_is_not_known(corpus: Corpus) -> None:
    _, known = true_motion(moved(corpus, covered=True))
    assert float(known[..., :28, 16:-8].mean()) > 0.9 > 0.3 > float(known[..., 36:, 16:-8].mean())


def test_the_loss_counts_only_what_is_known() -> None:
    truth, known = torch.zeros(1, 2, 2, 64, 64), torch.zeros(1, 2, 64, 64)
    known[..., :32] = 1
    flow = torch.zeros_like(truth)
    flow[..., 32:] = 0.7
    assert float(motion_loss(flow, truth, known)) == 0
    flow[..., :32] = 0.1
    assert float(motion_loss(flow, truth, known)) == pytest.approx(0.1)
    assert float(motion_loss(flow, truth, torch.zeros_like(known))) == 0


def test_smaller_pictures_give_the_same_field(shifted: Windows) -> None:
    whole, known = true_motion(shifted)
    small = replace(
        shifted, picture=F.avg_pool2d(shifted.picture, 2), stills=F.avg_pool2d(shifted.stills[:, 0], 2)[:, None]
    )
    flow, also = true_motion(small)
    sure = ((known > 0.9) & (also > 0.9))[:, :, None].expand_as(whole)
    assert sure.any() and float((flow - whole)[sure].abs().mean()) * 128 < 1.5
