from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from numpy.typing import NDArray
from safetensors.torch import load_file
from tiny_clips import FRAMES

from codec_models.errors import UserError
from codec_models.hint_measure import HINTS, measured
from codec_models.landmark_head import HintMotion, StillLandmarks
from codec_models.training.corpus import Corpus
from codec_models.training.face_shape import face_shape, main

pytestmark = pytest.mark.unit


def clip(seed: int) -> NDArray[np.float32]:
    """Forty frames of the average face, turned, moved, scaled, and speaking as the stored motion says."""
    g = torch.Generator().manual_seed(seed)
    mean = StillLandmarks(8).mean.detach()
    most = torch.tensor([0.3, 0.1, 0.05, 0.05, 0.2, 0.1, 0.2, 0.2, 0.3, 0.4, 0.3, 0.2])
    points = HintMotion()(mean.expand(40, -1, -1), torch.rand(40, HINTS, generator=g) * most).detach()
    return ((points + 1) / 2).numpy()


def test_motion_with_the_hints_is_found_again_whatever_the_head_does() -> None:
    mean, basis = face_shape(clip(seed) for seed in range(12))
    assert mean.shape == (110, 2) and basis.shape == (8, 110, 2)
    assert mean.dtype == basis.dtype == np.float32 and np.abs(mean).max() < 1
    # in the size of the head, per unit of the hints: openings, then the gaze, then the turn
    apart = np.abs(basis - HintMotion().basis.detach().numpy()).max((1, 2))
    assert (apart[[0, 1, 6, 7]] < 0.1).all() and apart.max() < 0.3, apart


def test_what_is_found_moves_another_clip() -> None:
    _, basis = face_shape(clip(seed) for seed in range(12))
    motion = HintMotion()
    with torch.no_grad():
        motion.basis.copy_(torch.from_numpy(basis))
        points = torch.from_numpy(clip(99)) * 2 - 1
        change = measured(points[20:]) - measured(points[:20])
        moved = motion(points[:20], change)
    error, movement = (moved - points[20:]).norm(dim=-1), (points[20:] - points[:20]).norm(dim=-1)
    assert error.mean() < 0.05 * movement.mean()


def test_the_command_writes_what_a_network_begins_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path, corpus: Corpus
) -> None:
    out = tmp_path / "shape.safetensors"
    monkeypatch.setattr(sys, "argv", ["face_shape", str(clips), str(clips / "labels.npz"), str(out)])
    assert main() == 0
    found = load_file(out)
    assert torch.allclose(found["mean"], corpus.points.mean(0), atol=1e-5)
    motion = HintMotion()
    motion.load_state_dict({"basis": found["basis"]})
    with torch.no_grad():
        mouths = measured(corpus.points[:FRAMES])[:, 0]
        shut, wide = corpus.points[mouths.argmin()], corpus.points[mouths.argmax()]
        moved = motion(shut, measured(wide) - measured(shut))
    assert (moved - wide).norm(dim=-1).mean() < 0.2 * (shut - wide).norm(dim=-1).mean()


def test_no_clip_is_said_so() -> None:
    with pytest.raises(UserError, match="no landmarks"):
        face_shape([])
