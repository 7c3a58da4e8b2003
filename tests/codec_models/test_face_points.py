from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from codec_models.errors import UserError
from codec_models.face_points import (
    EYE_PATCH,
    EYE_REACH,
    LEFT_EYE,
    MOUTH,
    MOUTH_REACH,
    RIGHT_EYE,
    FacePoints,
    PictureView,
    evened,
    eye_unit,
    grid,
    load_face_points,
)
from codec_models.landmarks import POINTS
from codec_models.training.checkpoint import save_weights
from codec_models.training.face_points import MIRROR

pytestmark = pytest.mark.unit


def network(seed: int = 0) -> FacePoints:
    torch.manual_seed(seed)
    return FacePoints().eval()


def pictures(count: int = 2, seed: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(count, 3, 16, 16, generator=g) * 2 - 1, size=256, mode="bicubic").clamp(-1, 1)


def test_a_quarter_of_a_million_parameters_find_110_landmarks() -> None:
    model = network()
    assert 0.24e6 < sum(p.numel() for p in model.parameters()) < 0.27e6
    with torch.no_grad():
        points, confidence = model(pictures())
    assert points.shape == (2, len(POINTS), 2) and bool(torch.isfinite(points).all())
    assert confidence.shape == (2,) and bool(((confidence > 0) & (confidence < 1)).all())
    with pytest.raises(ValueError, match="256"):
        PictureView(torch.zeros(1, 3, 128, 128))


def test_the_right_eye_is_the_left_ones_mirror_image() -> None:
    assert MIRROR[LEFT_EYE].tolist() == RIGHT_EYE
    assert sorted(LEFT_EYE + RIGHT_EYE + MOUTH + [int(k) for k in range(52, 108)]) == list(range(110))


def test_mirrored_eyes_are_found_in_each_others_place() -> None:
    model, seen = network(), pictures(1)
    g = torch.Generator().manual_seed(3)
    near = torch.rand(1, 110, 2, generator=g) * 0.2
    near[:, [40, 49]] = torch.tensor([[-0.3, -0.1], [0.3, -0.05]])
    flip = torch.tensor([-1.0, 1.0])
    mirrored = near[:, MIRROR] * flip
    with torch.no_grad():
        one = model.refine(PictureView(seen), near, near)
        other = model.refine(PictureView(seen.flip(3)), mirrored, mirrored)
    both = LEFT_EYE + RIGHT_EYE
    assert_close(other[:, MIRROR][:, both] * flip, one[:, both], atol=1e-4, rtol=0)
    rest = list(range(52, 108))
    assert_close(one[:, rest], near[:, rest])


def test_patches_lie_where_their_frame_says() -> None:
    ramp = (torch.arange(256) + 0.5) / 128 - 1
    x, y = ramp.expand(256, 256), ramp[:, None].expand(256, 256)
    view = PictureView(torch.stack([x, y, 0 * x])[None])
    frame = torch.tensor([[0.55, 0.4, -1.5, 0.3]])
    where = grid(frame, EYE_PATCH, EYE_REACH)
    assert where.shape == (1, EYE_PATCH[1], EYE_PATCH[0], 2)
    for fine in (True, False):
        assert_close(view.patch(where, fine)[:, :2], where.movedim(3, 1), atol=1e-4, rtol=0)
    middle = where.mean((1, 2))
    assert_close((middle + 1) / 2, frame[:, :2])
    assert_close(grid(frame, EYE_PATCH, EYE_REACH, mirrored=True).flip(2), where)
    across = where[0, 0, -1] - where[0, 0, 0]
    assert float(across.norm()) == pytest.approx(
        2 * 2 * EYE_REACH[0] * 31 / 32 * float(torch.tensor(-1.5).exp()), rel=1e-4
    )
    assert float(torch.atan2(across[1], across[0])) == pytest.approx(0.3, abs=1e-5)
    assert view.whole().shape == (1, 3, 64, 64)
    assert_close(view.whole()[0, 0, 0], (torch.arange(64) + 0.5) / 32 - 1)
    far = view.patch(grid(torch.tensor([[3.0, 0.5, -3.0, 0.0]]), (8, 8), MOUTH_REACH), True)
    assert_close(far[:, 0], torch.full_like(far[:, 0], float(ramp[-1])))


def test_light_and_contrast_do_not_count() -> None:
    x = torch.rand(1, 3, 8, 8)
    assert_close(evened(x), evened(x + 0.3), atol=1e-5, rtol=0)
    assert float((evened(x) - evened(0.5 * x)).abs().max()) < 0.4
    assert bool(torch.isfinite(evened(torch.zeros(1, 3, 8, 8))).all())


def test_the_unit_of_eyes_and_mouth_is_the_distance_of_the_outer_corners() -> None:
    points = torch.zeros(1, 110, 2)
    assert bool(torch.isfinite(eye_unit(points)).all())
    points[0, 49] = torch.tensor([0.0, 0.5])
    size, roll = eye_unit(points)[0]
    assert float(size.exp()) == pytest.approx(0.25, rel=1e-4) and float(roll) == pytest.approx(torch.pi / 2)


def test_only_exactly_these_weights_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "face_points.safetensors"
    with pytest.raises(UserError, match="no trained weights"):
        load_face_points(path)
    save_weights(path, network())
    stored = load_file(path)
    assert all(t.dtype == torch.float16 for t in stored.values())
    assert_close(load_face_points(path).face.tell.bias, network().face.tell.bias, atol=1e-2, rtol=1e-2)
    assert not any(p.requires_grad for p in load_face_points(path).parameters())
    for change, message in (
        ({"eye.tell.bias": None}, "lacks eye.tell.bias"),
        ({"eye.more": torch.zeros(3)}, "unknown eye.more"),
        ({"eye.tell.bias": torch.zeros(15)}, "not floats"),
        ({"eye.tell.bias": torch.zeros(14, dtype=torch.int32)}, "not floats"),
        ({"eye.tell.bias": torch.full((14,), float("nan"))}, "not finite"),
    ):
        save_file({k: t for k, t in (stored | change).items() if t is not None}, path)
        with pytest.raises(UserError, match=message):
            load_face_points(path)
    path.write_bytes(b"landmarks")
    with pytest.raises(UserError, match="not a safetensors file"):
        load_face_points(path)


def test_the_shipped_weights_see_no_face_in_noise_and_are_small() -> None:
    from codec_models.face_points import DEFAULT_WEIGHTS

    assert DEFAULT_WEIGHTS.stat().st_size < 530_000
    model = load_face_points()
    g = torch.Generator().manual_seed(0)
    blank = torch.zeros(1, 3, 256, 256)
    noise = torch.randn(2, 3, 256, 256, generator=g).clamp(-1, 1)
    with torch.no_grad():
        _, confidence = model(torch.cat([blank, blank - 0.9, noise, pictures(4)]))
    assert float(confidence.max()) < 0.5
