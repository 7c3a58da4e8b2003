from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from codec_models.errors import UserError
from codec_models.training.corpus import ClipRow, read_manifest
from codec_models.training.labels import Labels
from codec_models.training.verification import (
    FaceSet,
    face_set,
    held_out,
    pixels,
    recording_of,
    separation,
    told,
    verify,
    verify_all,
)

pytestmark = pytest.mark.unit


def row(name: str, person: str, dataset: str = "") -> ClipRow:
    return ClipRow(Path(f"{name}.mp4"), person, dataset, False, False)


def colours(faces: torch.Tensor) -> torch.Tensor:
    """An embedding that tells painted people apart: the colour in the middle of the face, less the grey."""
    middle = faces[:, :, 20:30, 26:38].mean((2, 3))
    return F.normalize(middle - middle.mean(1, keepdim=True), dim=1)


def test_auc_and_equal_error_rate_of_known_scores() -> None:
    assert separation(torch.tensor([0.9, 0.8]), torch.tensor([0.1, 0.85])) == (0.75, 0.5)
    assert separation(torch.tensor([0.7, 0.8]), torch.tensor([0.1, 0.2, 0.3])) == (1.0, 0.0)
    assert separation(torch.tensor([0.1]), torch.tensor([0.7, 0.8]))[0] == 0
    assert separation(torch.tensor([0.5, 0.5]), torch.tensor([0.5]))[0] == 0.5
    torch.manual_seed(0)
    auc, eer = separation(torch.randn(4000) + 2, torch.randn(4000))
    assert auc == pytest.approx(0.921, abs=0.01) and eer == pytest.approx(0.159, abs=0.01)


def test_parts_of_a_recording_are_known_by_their_names() -> None:
    assert recording_of(row("talk_5f_00", "a")) == recording_of(row("talk_5f_01", "a")) == "talk_5f"
    assert recording_of(row("talk_5f", "a")) == "talk_5f" and recording_of(row("talk", "a")) == "talk"


def test_held_out_people_have_several_recordings_and_are_not_learned_from() -> None:
    rows = [row(f"one_{k:02}", "one recording") for k in range(3)]
    rows += [row(f"studio{k}_00", "studio", "GRID") for k in range(3)]
    rows += [row(f"talk{k}_{part:02}", "much seen") for k in range(3) for part in range(3)]
    rows += [row(f"film{k}_00", "twice seen") for k in range(2)]
    learned, measured = held_out(rows, 5)
    assert {r.identity for r in learned} == {"one recording", "studio"} and len(learned) == 6
    assert {r.identity for r in measured} == {"much seen", "twice seen"}
    theirs = [r for r in measured if r.identity == "much seen"]
    assert len(theirs) == 4 and len({recording_of(r) for r in theirs}) == 3
    assert held_out(rows, 0) == (rows, [])
    assert len({r.identity for r in held_out(rows, 1)[1]}) == 1


@pytest.fixture(scope="module")
def faces(clips: Path) -> FaceSet:
    seen: list[tuple[int, ...]] = []

    def darker(frames: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
        seen.append((*frames.shape, *points.shape))
        return frames // 2

    made = face_set(read_manifest(clips), Labels(clips / "labels.npz"), {"dark": darker})
    assert seen == [(40, 256, 256, 3, 40, 110, 2)] * 4
    return made


def test_a_set_has_every_tenth_face_of_each_clip(faces: FaceSet) -> None:
    assert len(faces) == 16 and faces.people == 2 and set(faces.faces) == {"plain", "dark", "relit"}
    assert faces.tick[:4].tolist() == [5, 15, 25, 35] and faces.clip.tolist() == sorted([0, 1, 2, 3] * 4)
    assert len(torch.unique(faces.recording)) == 4
    plain, dark = faces.faces["plain"].float(), faces.faces["dark"].float()
    assert float((dark - plain / 2).abs().mean()) < 1
    with pytest.raises(UserError, match="no clip to measure on"):
        face_set([], Labels(cache=Path("absent")))


def test_figures_of_an_embedding_that_knows_and_of_one_that_does_not(faces: FaceSet) -> None:
    knows = verify(colours, faces)
    assert set(knows.kinds) == {"recordings"}, "the clips are too short for two moments, and no two are of a recording"
    pairs = knows.kinds["recordings"]
    assert pairs.auc == 1 and pairs.eer == 0 and pairs.people == 2 and pairs.pairs == 2 * 2 * 16
    assert pairs.cosine > 0.95 > knows.others and knows.own == pytest.approx(1, abs=1e-5)

    def guess(pictures: torch.Tensor) -> torch.Tensor:
        return F.normalize(
            torch.randn(len(pictures), 32, generator=torch.Generator().manual_seed(len(pictures))), dim=1
        )

    assert 0.3 < verify(guess, faces).kinds["recordings"].auc < 0.7
    dark = verify(colours, faces, "dark")
    assert dark.own < 1 and "recordings AUC" in told(dark)
    every = verify_all(colours, faces)
    assert set(every) == {"plain", "dark", "relit", "pixels"}
    assert every["pixels"].own == pytest.approx(1, abs=1e-5)


def test_grey_levels_do_not_see_light_and_contrast() -> None:
    face = torch.rand(2, 3, 64, 64) - 0.5
    assert float((pixels(face) * pixels(0.5 * face + 0.2)).sum(1).min()) > 0.999
