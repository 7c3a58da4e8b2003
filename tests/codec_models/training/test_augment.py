from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from codec_models.hint_measure import measured
from codec_models.landmark_head import StillLandmarks
from codec_models.training.augment import random_transforms, random_voices, revoiced, transformed_points
from codec_models.training.draws import Dice

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


def test_another_voice_is_louder_tilted_and_never_below_its_room() -> None:
    mel = torch.rand(4, 80, 16, generator=torch.Generator().manual_seed(0)) - 0.5
    gain, tilt, floor = 0.2, 0.1, -0.45
    voices = torch.tensor([[0, 0, -1], [gain, 0, -1], [0, tilt, -1], [0, 0, floor]])
    same, louder, tilted, noisy = revoiced(mel, voices)
    assert torch.equal(same, mel[0])
    assert torch.allclose(louder, mel[1] + gain)
    change = tilted - mel[2]
    assert torch.allclose(change[0], torch.tensor(-tilt / 2)) and torch.allclose(change[-1], torch.tensor(tilt / 2))
    assert torch.allclose(change.diff(dim=0), torch.tensor(tilt / 79), atol=1e-6), "evenly over the bands"
    assert torch.equal(noisy, mel[3].clamp_min(floor)) and (noisy == floor).any() and (noisy > floor).any()


def test_voices_stay_in_range_whatever_they_were() -> None:
    mel = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 80, 16)
    for seed in range(20):
        heard = revoiced(mel, random_voices(Dice(seed, CPU), 3))
        assert heard.shape == mel.shape and heard.min() >= -1 and heard.max() <= 1
    quiet = revoiced(mel[:1], torch.tensor([[0.25, 0.15, -0.6]]))
    assert (quiet == -0.6).all(), "what lies below the floor is the room"


def test_voices_are_drawn_within_their_bounds() -> None:
    voices = random_voices(Dice(0, CPU), 4000)
    assert voices.shape == (4000, 3)
    gain, tilt, floor = voices.unbind(1)
    for values, most in ((gain, 0.25), (tilt, 0.15)):
        assert 0.95 * most < values.abs().max() <= most and values.mean().abs() < 0.1 * most
    assert 0.45 < (floor == -1).float().mean() < 0.55, "every other room is silent"
    noisy = floor[floor != -1]
    assert -0.9 <= noisy.min() < -0.85 and -0.45 < noisy.max() <= -0.4


def test_a_transform_moves_the_head_in_the_hints() -> None:
    face = StillLandmarks(8).mean.detach().expand(200, -1, -1)
    before = measured(face)
    transforms = random_transforms(Dice(1, CPU), 200)
    after = measured(transformed_points(face, transforms))
    # seen twice as large a part, the head is half as large
    size = transforms[:, :2, 0].norm(dim=1).log()
    assert torch.allclose(after[:, 8], before[:, 8] - size, atol=1e-4)
    roll = torch.atan2(transforms[:, 1, 0], transforms[:, 0, 0])
    assert torch.allclose(after[:, 9], before[:, 9] - roll, atol=1e-4)
    rest = [0, 1, 2, 3, 4, 5, 10, 11]
    assert torch.allclose(after[:, rest], before[:, rest], atol=1e-3)
