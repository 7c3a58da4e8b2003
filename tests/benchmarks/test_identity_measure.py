"""The identity cosine by our own network: whose landmarks, which frames."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the identity network needs torch")

from benchmarks.clips import Clip
from benchmarks.extra_measures import OwnIdentity
from benchmarks.identity_measure import EVERY, WEIGHTS, IdentityCosine
from codec_models.landmarks import POINTS
from codec_models.training.checkpoint import save_weights
from codec_models.training.identity import Identity

pytestmark = pytest.mark.unit

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (12, 256, 256, 3)).astype(np.uint8)
FACE = RNG.uniform(0.3, 0.7, (len(POINTS), 2)).astype(np.float32)
CLIP = Clip("noise", FRAMES, np.zeros((12, 1920), np.int16), np.repeat(FACE[None], 12, 0))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(tmp_path / "identity.safetensors", Identity())
    return tmp_path / "identity.safetensors"


def test_every_fifth_frame_counts_where_the_true_face_is(weights: Path) -> None:
    cosine = IdentityCosine(weights)
    assert cosine.of(FRAMES, FRAMES, CLIP.points) == pytest.approx(1, abs=1e-5)
    between = FRAMES.copy()
    between[np.arange(12) % EVERY != 0] = 0
    assert cosine.of(FRAMES, between, CLIP.points) == pytest.approx(1, abs=1e-5)
    one = FRAMES.copy()
    one[EVERY] = 255 - one[EVERY]
    worse = cosine.of(FRAMES, one, CLIP.points)
    assert worse is not None and worse < 0.999
    away = CLIP.points.copy()
    away[EVERY] = np.nan
    assert cosine.of(FRAMES, one, away) == pytest.approx(1, abs=1e-5), "a frame without a face is left out"
    assert cosine.of(FRAMES, FRAMES, np.full_like(away, np.nan)) is None


def test_it_is_a_measure_where_its_weights_are(monkeypatch: pytest.MonkeyPatch, weights: Path, tmp_path: Path) -> None:
    monkeypatch.setattr(OwnIdentity, "weights", tmp_path / "none.safetensors")
    assert OwnIdentity().missing() == "there are no weights of the identity network yet"
    monkeypatch.setattr(OwnIdentity, "weights", weights)
    measure = OwnIdentity()
    assert measure.missing() is None and measure.names == ("id_cosine",)
    assert measure.figures("x", CLIP, FRAMES, None, None)["id_cosine"] == pytest.approx(1, abs=1e-5)
    faceless = dataclasses.replace(CLIP, points=np.full_like(CLIP.points, np.nan))
    assert measure.figures("x", faceless, FRAMES, None, None) == {}


def test_the_shipped_weights_fit_and_are_small() -> None:
    assert WEIGHTS.is_file() and WEIGHTS.stat().st_size < 800_000
    assert not Identity.load(WEIGHTS).training
