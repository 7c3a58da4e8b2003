from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from codec_models.training.corpus import Corpus
from codec_models.training.draws import Dice
from codec_models.training.face_reader import (
    FaceReader,
    likeness_loss,
    reading_loss,
    roughened,
    true_readings,
)

pytestmark = pytest.mark.unit


def faces(corpus: Corpus, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    index = torch.linspace(0, corpus.frames - 1, count).long()
    return corpus.pictures(index, 128), corpus.points[index]


def test_learns_to_read_and_then_tells_faces_apart(corpus: Corpus) -> None:
    torch.manual_seed(0)
    pictures, points = faces(corpus, 24)
    reader = FaceReader()
    optimiser = torch.optim.Adam(reader.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        loss = reading_loss(reader, pictures, points)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    reader.requires_grad_(False)
    openings = true_readings(points)[:, 0]
    shut, wide = int(openings.argmin()), int(openings.argmax())
    right = likeness_loss(reader, pictures[[wide]], pictures[[wide]], points[[wide]])
    wrong = likeness_loss(reader, pictures[[shut]], pictures[[wide]], points[[wide]])
    assert right[1].item() == 0 and wrong[1].item() > 0
    assert wrong[0].item() > right[0].item()


def test_gradient_reaches_the_drawn_face_only(corpus: Corpus) -> None:
    pictures, points = faces(corpus, 4)
    reader = FaceReader().requires_grad_(False)
    drawn = pictures.clone().requires_grad_()
    apart, alike = likeness_loss(reader, drawn, 0.5 * pictures, points)
    (apart + alike).backward()
    assert drawn.grad is not None and drawn.grad.abs().max() > 0
    away = drawn.grad[:, :, :20].abs().max()
    assert away == 0, "the top of a picture holds no eyes"


def test_rough_pictures_follow_the_dice(corpus: Corpus) -> None:
    pictures, _ = faces(corpus, 8)
    made = [roughened(pictures, Dice(seed, torch.device("cpu"))) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert 0.01 < (made[0] - pictures).abs().mean() < 0.3
