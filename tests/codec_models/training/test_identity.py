from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import torch.nn.functional as F
from safetensors.torch import load_file
from torch.testing import assert_close

from codec_models.errors import UserError
from codec_models.training.aligned_faces import AlignedFaces, FaceChanges, IdentitySampler
from codec_models.training.corpus import read_manifest
from codec_models.training.identity import SIZE, Identity, IdentityRecipe, People, train_identity
from codec_models.training.labels import Labels
from codec_models.training.verification import face_set, verify

pytestmark = pytest.mark.unit
CPU = torch.device("cpu")


def test_embeddings_are_unit_vectors_that_see_neither_light_nor_corners() -> None:
    torch.manual_seed(0)
    network = Identity().eval()
    assert sum(p.numel() for p in network.parameters()) < 400_000
    faces = torch.rand(3, 3, 64, 64) * 0.8 - 0.4
    with torch.no_grad():
        made = network(faces)
        assert made.shape == (3, SIZE)
        assert_close(made.norm(dim=1), torch.ones(3))
        assert float((made * network(1.5 * faces + 0.2)).sum(1).min()) > 0.99
        corners = faces.clone()
        corners[:, :, :6, :6] = corners[:, :, -6:, -6:] = 1
        assert_close(network(corners), made)
        inside = faces.clone()
        inside[:, :, 24:40, 24:40] = 0.4
        assert float((made * network(inside)).sum(1).max()) < 0.999


def test_the_margin_must_be_won() -> None:
    torch.manual_seed(0)
    people = People(4)
    person = torch.arange(4)
    own = F.normalize(people.vectors.detach(), dim=1)
    plain = F.cross_entropy(20 * own @ own.T, person)
    assert_close(people(own, person, 20, 0.0), plain)
    with torch.no_grad():
        won, lost = people(own, person, 20, 0.3), people(own.roll(1, 0), person, 20, 0.3)
    assert float(won) > float(plain) and float(lost) > 10 * float(won)


def test_it_learns_people_and_writes_averaged_weights(clips: Path, tmp_path: Path) -> None:
    rows, labels = read_manifest(clips), Labels(clips / "labels.npz")
    changes = FaceChanges(doubles=0, strength=0.2, untouched=0.9, covered=0)
    sampler = IdentitySampler(AlignedFaces(rows, labels, CPU), changes, seed=1)
    sets = {"dev": face_set(rows, labels)}
    torch.manual_seed(0)
    recipe = IdentityRecipe(steps=25, batch=16, warm_up=3, ema=0.8, evaluate_minutes=1e9, half=False)
    network = train_identity(sampler, sets, recipe, tmp_path)
    faces, person = sampler.draw(64)
    with torch.no_grad():
        made = network(faces)
    alike, same = made @ made.T, person[:, None] == person[None]
    assert float(alike[same].mean()) > float(alike[~same].mean()) + 0.5
    stored = tmp_path / "identity.safetensors"
    assert stored.stat().st_size < 800_000
    assert all(t.dtype in (torch.float16, torch.int64) for t in load_file(stored).values())
    shipped = Identity.load(stored)
    assert not shipped.training and float((shipped(faces) * made).sum(1).min()) > 0.999
    line = json.loads((tmp_path / "figures.jsonl").read_text())
    assert line["step"] == 25 and line["set"] == "dev"
    assert line["kinds"]["recordings"]["auc"] == pytest.approx(verify(network, sets["dev"]).kinds["recordings"].auc)
    with pytest.raises(UserError, match="no such weights"):
        Identity.load(tmp_path / "absent.safetensors")


@pytest.mark.slow
def test_the_command_trains_measures_and_measures_again(
    monkeypatch: pytest.MonkeyPatch, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from codec_models.training import verification
    from codec_models.training.__main__ import main

    monkeypatch.setattr(verification, "FRAMES", 16)  # drawing more takes long and shows nothing else

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["training", "identity", *map(str, words)])
        return main()

    common = ["--clips", clips, "--labels", clips / "labels.npz", "--minutes", "0.005", "--batch", "8"]
    common += ["--threads", "1", "--device", "cpu"]
    first = tmp_path / "first"
    assert run(*common, "--held-out", "0", "--out", first) == 0
    assert json.loads((first / "identity.json").read_text()) == {}, "nobody to measure on"
    with pytest.raises(UserError, match="exists"):
        run(*common, "--out", first)
    again, weights = tmp_path / "again", first / "identity.safetensors"
    words = ["--held-out", "1", "--dev", clips, "--dev-clips", "2", "--out", again, "--weights", weights]
    assert run(*common, *words) == 0
    figures = json.loads((again / "identity.json").read_text())
    assert set(figures) == {"dev", "held out"}
    assert set(figures["dev"]) == {"plain", "relit", "h264", "drawn", "pixels"}
    assert figures["dev"]["plain"]["others"] > -1
    assert figures["held out"]["plain"]["others"] is None, "one person is not two"
    assert "held out, drawn: itself" in capsys.readouterr().out
    assert not (again / "identity.safetensors").exists(), "the weights were measured, not trained on"
