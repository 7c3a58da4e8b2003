from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from codec_models.hint_measure import head_of
from codec_models.landmark_head import HintMotion, StillLandmarks
from codec_models.landmarks import POINTS
from codec_models.motion import FINE, SparseMotion, warped

pytestmark = pytest.mark.unit


def face() -> torch.Tensor:
    return StillLandmarks(8).mean.detach()[None]


def at(flow: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """Flow (2, 64, 64) at a point in [-1, 1]."""
    sampled = torch.nn.functional.grid_sample(flow[None], point.view(1, 1, 1, 2), align_corners=False)
    return sampled[0, :, 0, 0]


def test_a_moved_face_is_found_in_the_still() -> None:
    still = face()
    flow = SparseMotion()(still + torch.tensor([0.1, -0.05]), still[:, None])[0, 0]
    found = at(flow, still[0, 60] + torch.tensor([0.1, -0.05]))
    assert torch.allclose(found, torch.tensor([-0.1, 0.05]), atol=0.02)
    assert float(flow[:, 0, 0].detach().abs().max()) < 0.02, "the corner of the picture stays"


def test_mouth_and_eyes_open() -> None:
    """Lips and lids move against their counterparts a few pixels away, which the field must keep apart."""
    still = face()
    now = HintMotion()(still, torch.tensor([0.25, 0.0, 0.08, 0.08, *[0.0] * 8])).detach()
    flow = SparseMotion()(now, still[:, None])[0, 0].detach()
    for upper, lower, least in ((13, 14, 0.6), (160, 144, 0.3), (385, 380, 0.3)):
        a, b = POINTS.index(upper), POINTS.index(lower)
        opened = (now[0, b] - now[0, a]) - (still[0, b] - still[0, a])
        shown = at(flow, now[0, a]) - at(flow, now[0, b])
        assert least < float(shown[1] / opened[1]) < 1.1, upper


@pytest.mark.parametrize("lids", [(160, 144), (385, 380)])
def test_shut_lids_cover_the_eye(lids: tuple[int, int]) -> None:
    """Both lids lie in one line then: just above it all comes from above the open eye, just below it from below."""
    still = face()
    a, b = (POINTS.index(mesh) for mesh in lids)
    now = still.clone()
    for upper, lower in ((160, 144), (158, 153), (385, 380), (387, 373)):
        now[0, POINTS.index(upper)] = now[0, POINTS.index(lower)]
    fine = SparseMotion()(now, still[:, None], FINE)[0, 0].detach()
    line, opening = float(now[0, b, 1]), float(still[0, b, 1] - still[0, a, 1])
    for away in (-0.02, -0.012, 0.012, 0.02):  # 1.5 to 3 pixels
        place = torch.stack([now[0, b, 0], torch.tensor(line + away)])
        source = line + away + float(at(fine, place)[1])
        inside = (source - float(still[0, a, 1])) / opening
        assert inside < 0.15 if away < 0 else inside > 0.85, (away, inside)


def test_the_separable_sum_is_the_plain_one() -> None:
    torch.manual_seed(0)
    motion = SparseMotion()
    points, stills = torch.rand(2, 110, 2) * 2 - 1, torch.rand(2, 3, 110, 2) * 2 - 1
    flow = motion(points, stills)
    y, x = 20, 41
    centre = torch.tensor([(x + 0.5) / 32 - 1, (y + 0.5) / 32 - 1])
    roll = head_of(points)[:, 3]
    unit = (points[:, POINTS.index(263)] - points[:, POINTS.index(33)]).norm(dim=-1)
    beyond = 0.055 * unit[:, None, None] * motion.side[:, None] * torch.stack([-roll.sin(), roll.cos()], 1)[:, None]
    weight = torch.exp(-((points + beyond - centre) ** 2).sum(-1) * motion.log_sharpness.exp())
    weight = weight * motion.log_weight.exp()
    moved = ((stills - points[:, None]) * weight[:, None, :, None]).sum(2)
    plain = moved / (weight.sum(1) + motion.log_background.exp())[:, None, None]
    assert torch.allclose(flow[..., y, x], plain, atol=1e-5)


def test_warp_moves_features() -> None:
    features = torch.rand(1, 2, 32, 32)
    flow = torch.zeros(1, 2, 64, 64)
    assert torch.allclose(warped(features, flow), features, atol=1e-6)
    flow[:, 0] = 2 * 3 / 32
    assert torch.allclose(warped(features, flow)[..., :-3], features[..., 3:], atol=1e-5)


def test_a_warp_is_sampled_in_full_precision() -> None:
    features, flow = torch.rand(2, 8, 32, 32).bfloat16(), 0.1 * torch.rand(2, 2, 64, 64)
    made = warped(features, flow)
    assert made.dtype == torch.float32 and torch.equal(made, warped(features.float(), flow))
