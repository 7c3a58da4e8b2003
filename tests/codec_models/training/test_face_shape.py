from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec_models.errors import UserError
from codec_models.landmark_head import HintMotion, StillLandmarks
from codec_models.landmarks import POINTS
from codec_models.training.face_shape import face_shape

pytestmark = pytest.mark.unit


def clip(seed: int) -> NDArray[np.float32]:
    """Forty frames of the average face, turned, moved, scaled, and speaking as the stored motion says."""
    g = torch.Generator().manual_seed(seed)
    mean = StillLandmarks(8).mean.detach()
    change = torch.rand(40, 6, generator=g) * torch.tensor([0.3, 0.1, 0.05, 0.05, 0.2, 0.1])
    points = HintMotion()(mean.expand(40, -1, -1), change).detach()
    angle = torch.randn(40, generator=g) * 0.2
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(40, 2, 2)
    points = points @ turn * 0.8 + 0.1 * torch.randn(40, 1, 2, generator=g)
    return ((points + 1) / 2).numpy()


def test_motion_with_the_hints_is_found_again_whatever_the_head_does() -> None:
    mean, basis = face_shape(clip(seed) for seed in range(12))
    assert mean.shape == (110, 2) and basis.shape == (6, 110, 2)
    stored = HintMotion().basis.detach().numpy()
    lips = [POINTS.index(mesh) for mesh in (13, 14, 17, 78, 308)]
    assert np.abs(basis[:2, lips] - stored[:2, lips]).max() < 0.1
    assert np.abs(mean).max() < 1


def test_no_clip_is_said_so() -> None:
    with pytest.raises(UserError, match="no landmarks"):
        face_shape([])
