"""Measures of other people's packages: what is missing is said, what is there is measured, nothing is downloaded."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks import extra_measures
from benchmarks.clips import Clip
from benchmarks.extra_measures import Sync, frechet, lpips, measures
from codec_models.errors import UserError
from codec_models.landmarks import POINTS

pytestmark = pytest.mark.unit

FRAMES = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
CLIP = Clip("noise", FRAMES, np.zeros((20, 1920), np.int16), np.full((20, len(POINTS), 2), np.nan, np.float32))


def test_what_is_not_on_the_machine_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(extra_measures.importlib.util, "find_spec", lambda name: None)
    reasons = {name: m.missing() for m in measures(None) for name in m.names}
    assert set(reasons) == {"csim", "id_cosine", "lpips", "dists", "fid", "lse_d", "lse_c", "av_offset"}
    assert all(reasons.values()) and "--sface" in str(reasons["csim"])
    monkeypatch.setattr(extra_measures.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert "alexnet" in str(lpips().missing())
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    assert lpips().missing() is None
    with pytest.raises(UserError, match="--sface"):
        measures(tmp_path / "nowhere.onnx")


def test_no_identity_network_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing of the kind")
    identity = measures(path)[0]
    assert identity.missing() is None
    track = np.zeros((20, len(POINTS), 2), np.float32)
    with pytest.raises(UserError, match="SFace"):
        identity.figures("x", CLIP, FRAMES, track, track)


def test_pairs_go_to_the_network_in_its_own_range(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    seen: list[Any] = []

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, a: Any, b: Any) -> Any:
            seen.append((a, b))
            return (a - b).abs().mean((1, 2, 3), keepdim=True)

    module = ModuleType("lpips")
    module.LPIPS = lambda net, verbose: Net()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)
    figures = lpips().figures("x", CLIP, 255 - FRAMES, None, None)
    expected = np.abs(2 * FRAMES.astype(float) - 255).mean() / 255 * 2
    assert figures["lpips"] == pytest.approx(expected, rel=1e-4)
    assert [len(a) for a, _ in seen] == [16, 4] and seen[0][0].shape[1:] == (3, 16, 16)
    assert float(seen[0][0].min()) == -1 and float(seen[0][0].max()) == 1


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(300, 8))
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a + 2) == pytest.approx(4 * 8)
    assert frechet(a, 3 * (a - a.mean(0)) + a.mean(0)) == pytest.approx(4 * a.var(0, ddof=1).sum())


def test_the_sync_expert_plugs_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the sync expert needs torch")
    from codec_models.training.checkpoint import save_weights
    from codec_models.training.sync_expert import SyncExpert

    monkeypatch.setattr(Sync, "weights", tmp_path / "none.safetensors")
    assert Sync().missing() == "there are no weights of the sync expert yet"
    torch.manual_seed(0)
    monkeypatch.setattr(Sync, "weights", tmp_path / "expert.safetensors")
    save_weights(Sync.weights, SyncExpert())
    assert Sync().missing() is None
    rng = np.random.default_rng(0)
    clip, frames = long_clip(rng, 40), rng.integers(0, 256, (40, 256, 256, 3)).astype(np.uint8)
    figures = Sync().figures("x", clip, frames, None, None)
    assert 0 < figures["lse_d"] < 2 and 0 <= figures["lse_c"] < 2 and abs(figures["av_offset"]) <= 12
    assert Sync().figures("x", long_clip(rng, 20), frames[:20], None, None) == {}


def long_clip(rng: np.random.Generator, ticks: int) -> Clip:
    points = rng.uniform(0.3, 0.7, (ticks, 110, 2)).astype(np.float32)
    voice = rng.integers(-3000, 3000, (ticks, 1920)).astype(np.int16)
    return dataclasses.replace(CLIP, points=points, voice=voice)
