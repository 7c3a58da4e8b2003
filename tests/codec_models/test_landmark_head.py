from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from codec_models.hint_measure import measured, normalised
from codec_models.landmark_head import HintMotion, StillLandmarks
from codec_models.landmarks import POINTS, hints_of

pytestmark = pytest.mark.unit


def face() -> torch.Tensor:
    """Average landmarks (110, 2) in [-1, 1]."""
    return StillLandmarks(8).mean.detach().clone()


def turned(points: torch.Tensor, angle: float) -> torch.Tensor:
    c, s = np.cos(angle), np.sin(angle)
    return points @ torch.tensor([[c, s], [-s, c]], dtype=torch.float32)


def test_measured_hints_are_those_of_the_sender() -> None:
    g = torch.Generator().manual_seed(0)
    points = face() + 0.02 * torch.randn(5, 110, 2, generator=g)
    for angle in (0.0, 0.4, -0.7):
        p = turned(points, angle)
        theirs = [astuple(hints_of(((one + 1) / 2).numpy())) for one in p]
        assert torch.allclose(measured(p), torch.tensor(theirs), atol=1e-3)


def test_normalised_hints_are_about_one() -> None:
    usual = torch.tensor([[0.0, 0.34, 0.01, 0.01, -0.19, -0.12], [0.28, 0.67, 0.14, 0.14, 0.26, 0.09]])
    assert float(normalised(usual).abs().max()) < 1.0


def test_gradient_of_a_closed_mouth_is_finite() -> None:
    points = face()
    points[POINTS.index(13)] = points[POINTS.index(14)]
    points.requires_grad_()
    measured(points).sum().backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None and bool(torch.isfinite(points.grad).all())


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_moved_landmarks_show_the_hints(angle: float) -> None:
    start = turned(face(), angle)
    change = torch.tensor([0.25, -0.05, -0.05, -0.06, 0.1, 0.05])
    moved = HintMotion()(start, change).detach()
    got = measured(moved) - measured(start)
    assert torch.allclose(got, change, atol=0.03)
    still_parts = [POINTS.index(mesh) for mesh in (33, 263, 168, 10)]
    assert float((moved - start)[still_parts].abs().max()) < 0.02, "eye corners, nose and forehead stay"
    lower, upper = POINTS.index(14), POINTS.index(13)
    assert float((moved - start)[lower].norm()) > 2 * float((moved - start)[upper].norm()), "the jaw opens downwards"


def test_no_change_moves_nothing() -> None:
    start = face()
    assert torch.allclose(HintMotion()(start, torch.zeros(6)), start)
