from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import torch.nn.functional as F
from tiny_clips import shape
from torch.testing import assert_close

from codec_models.errors import UserError
from codec_models.training.aligned_faces import (
    FACE,
    MARGIN,
    AlignedFaces,
    FaceChanges,
    IdentitySampler,
    as_floats,
    cut_faces,
    frames_of,
    places,
    relit,
)
from codec_models.training.augment import transformed, transformed_points
from codec_models.training.corpus import read_manifest
from codec_models.training.draws import Dice
from codec_models.training.face_points import AT
from codec_models.training.labels import Labels

pytestmark = pytest.mark.unit
CPU = torch.device("cpu")
AS_THEY_ARE = FaceChanges(
    doubles=0, bend=0, turn=0, nod=0, strength=0, untouched=1, colours=0, gamma=0, shade=0, covered=0
)


@pytest.fixture(scope="module")
def faces(clips: Path) -> AlignedFaces:
    return AlignedFaces(read_manifest(clips), Labels(clips / "labels.npz"), CPU, every=8)


def moved(angle: float, size: float, across: float) -> torch.Tensor:
    turn = torch.tensor(angle)
    matrix = torch.eye(3)[None]
    matrix[0, :2, :2] = size * torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).view(2, 2)
    matrix[0, 0, 2] = across
    return matrix


def test_a_face_is_cut_alike_wherever_it_is_and_however_it_is_turned() -> None:
    torch.manual_seed(0)
    picture = F.interpolate(torch.rand(1, 3, 12, 12) * 2 - 1, size=256, mode="bicubic").clamp(-1, 1)
    points = torch.from_numpy(shape())[None] * 1.1
    straight = cut_faces(picture, points)
    assert straight.shape == (1, 3, FACE, FACE)
    for change in (moved(0.3, 1.0, 0.0), moved(0.0, 0.85, 0.1), moved(-0.2, 1.15, -0.1)):
        again = cut_faces(transformed(picture, change), transformed_points(points, change))
        assert float((straight - again).abs().mean()) < 0.02
    assert float((straight - cut_faces(picture, points + 0.1)).abs().mean()) > 0.1


def test_eyes_nose_and_mouth_lie_where_a_usual_face_has_them() -> None:
    """A landmark shape that is the usual one but for place, size and turn is met exactly."""
    points = torch.zeros(1, 110, 2)
    turn, unit, middle = torch.tensor([[0.8, -0.6], [0.6, 0.8]]), 0.25, torch.tensor([0.1, -0.2])
    usual = {1: (0.0, 0.63), 61: (-0.395, 1.1), 291: (0.395, 1.1)}
    usual |= dict.fromkeys((33, 160, 158, 133, 153, 144), (-0.5, 0.0))
    usual |= dict.fromkeys((362, 385, 387, 263, 373, 380), (0.5, 0.0))
    for mesh, place in usual.items():
        points[0, AT[mesh]] = unit * turn @ torch.tensor(place) + middle
    (where,) = places(points)
    assert_close(where[:, :2], 1.15 * unit * turn, atol=1e-5, rtol=0)
    eyes = where @ torch.tensor([0.0, -0.68 / 1.15, 1.0])
    assert_close(eyes, middle, atol=1e-5, rtol=0)


def test_frames_are_read_as_far_and_as_often_as_asked(clips: Path, tmp_path: Path) -> None:
    frames = frames_of(clips / "p0-0.mp4")
    assert frames is not None and frames.shape == (40, 256, 256, 3)
    some = frames_of(clips / "p0-0.mp4", every=8, most=20)
    assert some is not None and (some == frames[:20:8]).all()
    (tmp_path / "none.mp4").write_bytes(b"nothing")
    assert frames_of(tmp_path / "none.mp4") is None
    assert (
        float((as_floats(frames[:1]) * 127.5 + 127.5 - torch.from_numpy(frames[0]).permute(2, 0, 1)).abs().max()) < 1e-3
    )


def test_every_person_and_every_clip_counts_the_same(faces: AlignedFaces) -> None:
    assert len(faces) == 20 and faces.people == ["p0", "p1"] and faces.crops.dtype == torch.uint8
    assert_close(torch.zeros(2).index_add_(0, faces.person, faces.weight), torch.full((2,), 1.0))
    with pytest.raises(UserError, match="no clip has landmarks"):
        AlignedFaces([], Labels(cache=Path("absent")), CPU)


def test_without_changes_faces_are_those_of_the_pool(faces: AlignedFaces) -> None:
    drawn, person = IdentitySampler(faces, AS_THEY_ARE, seed=3).draw(8)
    assert drawn.shape == (8, 3, FACE, FACE) and drawn.abs().max() <= 1
    where = torch.tensor([[[1 / MARGIN, 0, 0], [0, 1 / MARGIN, 0]]]).expand(len(faces), -1, -1)
    grid = F.affine_grid(where, [len(faces), 3, FACE, FACE], align_corners=False)
    pool = F.grid_sample(faces.crops.float() / 127.5 - 1, grid, align_corners=False)
    away = torch.stack([(drawn[:, None] - known[None]).abs().mean((2, 3, 4)) for known in (pool, pool.flip(-1))])
    assert float(away.amin((0, 2)).max()) < 0.01
    assert faces.person[away.amin(0).argmin(1)].tolist() == person.tolist()
    assert bool((away.argmin(0).amin(1) == 0).any()), "some are mirrored, some not"


def nearest(drawn: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Mean difference (n,) to the nearest of the known faces or of their mirror images."""
    both = torch.cat([known, known.flip(-1)])
    return torch.stack([(face - both).abs().mean((1, 2, 3)).min() for face in drawn])


def test_a_double_is_bent_and_always_the_same_way(faces: AlignedFaces) -> None:
    plain, _ = IdentitySampler(faces, AS_THEY_ARE, seed=7).draw(32)
    sampler = IdentitySampler(faces, dataclasses.replace(AS_THEY_ARE, doubles=2, double=0.06), seed=7)
    assert sampler.people == 6
    drawn, person = sampler.draw(96)
    assert set(person.tolist()) == set(range(6))
    again, whose = sampler.draw(96)
    for k in range(6):
        alike = nearest(again[whose == k], drawn[person == k])
        assert float(alike.median()) < 0.01, "mirrored or not, the same bend"
        away = nearest(again[whose == k], plain)
        assert float(away.median()) < 0.01 if k % 3 == 0 else float(away.min()) > 0.02


def test_changes_differ_and_can_be_repeated(faces: AlignedFaces) -> None:
    a, b = (IdentitySampler(faces, seed=5).draw(16)[0] for _ in range(2))
    assert torch.equal(a, b)
    plain, _ = IdentitySampler(faces, AS_THEY_ARE, seed=5).draw(16)
    assert float((a - plain).abs().mean((1, 2, 3)).min()) > 0.02
    dark = relit(plain, Dice(0, CPU))
    assert dark.shape == plain.shape and float((dark - plain).abs().mean()) > 0.05 and float(dark.abs().max()) <= 1
