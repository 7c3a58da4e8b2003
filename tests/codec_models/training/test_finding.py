from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file
from torch.testing import assert_close

from codec_models.errors import UserError
from codec_models.face_points import FacePoints, load_face_points
from codec_models.hint_measure import head_of, in_head
from codec_models.training.corpus import read_manifest
from codec_models.training.draws import Dice
from codec_models.training.face_views import FaceConfig, FacePool, FaceSampler
from codec_models.training.finding import FindingEvaluation, FindingRecipe, losses, prepare, train_finding
from codec_models.training.labels import Labels

pytestmark = pytest.mark.unit
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pool(clips: Path) -> FacePool:
    return FacePool(read_manifest(clips), Labels(clips / "labels.npz"), CPU, every=4)


def fresh(pool: FacePool) -> FacePoints:
    torch.manual_seed(0)
    network = FacePoints()
    prepare(network, pool)
    return network


def test_a_pool_has_every_fourth_frame_and_draws_rare_faces_more(pool: FacePool) -> None:
    assert len(pool) == 40 and [c.frames for c in pool.clips] == [10] * 4
    assert pool.luma.shape == (40, 256, 256) and pool.chroma.shape == (40, 2, 128, 128)
    assert float(pool.weight.sum()) == pytest.approx(1, abs=1e-5) and bool((pool.weight > 0).all())
    people = torch.zeros(4).index_add_(0, pool.clip, pool.weight)
    assert_close(people, torch.full((4,), 0.25))
    assert float(pool.weight.max() / pool.weight.min()) > 1.02
    with pytest.raises(UserError, match="no clip has landmarks"):
        FacePool([], Labels(cache=Path("absent")), CPU)


def test_a_plain_view_is_the_frame(pool: FacePool) -> None:
    faces = FaceSampler(pool).plain(torch.tensor([3]))
    at = (torch.arange(256) + 0.5) / 128 - 1
    where = torch.stack(torch.broadcast_tensors(at[None], at[:, None]), -1)[None]
    seen = faces.view.patch(where, fine=True)
    luma = (seen * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    stored = (pool.luma[3].float() - 16) / 219 * 2 - 1
    assert float((luma[0] - stored).abs().median()) < 0.01
    half = torch.nn.functional.avg_pool2d(seen, 4)
    assert float((faces.view.whole() - half).abs().median()) < 0.02
    assert_close(faces.points[0], pool.points[3])


def test_landmarks_move_with_the_picture(pool: FacePool) -> None:
    """Landmark 0 of the painted faces is a white dot, which no change of place, size, roll or squeeze loses."""
    config = FaceConfig(faceless=0.0, covered=0.0, soft=0.0, wide=0.5, wide_size=(0.13, 0.3))
    sampler = FaceSampler(pool, config, seed=4)
    for _ in range(3):
        faces = sampler.draw(16)
        faces.view._look = None
        mirrored = torch.det(faces.view._linear) < 0
        assert bool(mirrored.any()) and not bool(mirrored.all())
        dot = torch.where(mirrored[:, None], faces.points[:, 10], faces.points[:, 0])
        seen = faces.view.patch(dot[:, None, None], fine=True)[:, :, 0, 0]
        assert float(seen.min()) > 0.3, "all of red, green and blue"
    spread = head_of(torch.cat([sampler.draw(64).points for _ in range(3)]))
    assert float(spread[:, 0].std()) > 0.05 and float(spread[:, 3].std()) > 0.1


def test_a_share_has_no_face(pool: FacePool) -> None:
    faces = FaceSampler(pool, FaceConfig(faceless=0.25), seed=1).draw(16)
    assert faces.there.tolist() == [True] * 12 + [False] * 4
    assert bool(torch.isfinite(faces.view.whole()).all())


def test_the_beginning_is_the_mean_face(pool: FacePool) -> None:
    network = fresh(pool)
    network.face.tell.weight.data.zero_()
    view, head = FaceSampler(pool).plain(torch.arange(2)).view, torch.tensor([[0.5, 0.5, -1.6, 0.2]] * 2)
    with torch.no_grad():
        rough, _ = network.find_face(view, head)
    shapes = in_head(pool.points, head_of(pool.points))
    assert_close(in_head(rough, head)[0], shapes.mean(0), atol=1e-4, rtol=1e-4)


def test_it_learns_and_writes_averaged_weights(pool: FacePool, tmp_path: Path) -> None:
    network = fresh(pool)
    recipe = FindingRecipe(steps=60, batch=16, learning_rate=3e-3, warm_up=5, evaluate_minutes=1e9, ema=0.8)
    held_out = FaceSampler(pool, seed=9).draw(32)

    def error(model: FacePoints) -> dict[str, float]:
        with torch.no_grad():
            return {k: float(v) for k, v in losses(model, held_out, recipe, Dice(1, CPU)).items()}

    before = error(network)
    figures = train_finding(network, FaceSampler(pool, seed=1), pool, recipe, tmp_path)
    shipped = load_face_points(tmp_path / "face_points.safetensors")
    after = error(shipped)
    assert set(before) == {"head", "face", "fine", "hints", "confidence"}
    assert after["face"] < 0.7 * before["face"]
    assert after["fine"] < 0.7 * before["fine"] and after["confidence"] < before["confidence"]
    written = load_file(tmp_path / "face_points.safetensors")
    own = network.state_dict()
    assert any(not torch.equal(written[k], own[k].half()) for k in own), "an average, not the last weights"
    assert figures is not None and 0 < figures.distance < 0.5 and 0 <= figures.rejected <= 1
    line = json.loads((tmp_path / "figures.jsonl").read_text())
    assert line["step"] == 60 and line["distance"] == pytest.approx(figures.distance, abs=1e-3)
    points, confidence = FindingEvaluation(pool).find(shipped)
    assert points.shape == (40, 110, 2) and confidence.shape == (40,)


def test_the_command_trains_and_goes_on_from_weights(
    monkeypatch: pytest.MonkeyPatch, clips: Path, tmp_path: Path
) -> None:
    from codec_models.training.__main__ import main

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["training", "face-points", *map(str, words)])
        return main()

    common = ["--clips", clips, "--labels", clips / "labels.npz", "--minutes", "0.005", "--batch", "4"]
    common += ["--threads", "1", "--every", "10", "--device", "cpu"]
    first = tmp_path / "first" / "face_points.safetensors"
    assert run(*common, "--out", first.parent) == 0
    with pytest.raises(UserError, match="exists"):
        run(*common, "--out", first.parent)
    assert run(*common, "--out", tmp_path / "more", "--init", first, "--learning-rate", "1e-4") == 0
    with pytest.raises(UserError, match="no such weights file"):
        run(*common, "--out", tmp_path / "other", "--init", tmp_path / "absent.safetensors")
