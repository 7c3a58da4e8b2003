from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from codec_models.training.corpus import Corpus
from codec_models.training.data import Draw, WindowConfig, WindowSampler
from codec_models.training.sync_expert import SyncExpert
from codec_models.training.sync_loss import SyncLoss
from codec_models.training.windows import Windows

pytestmark = pytest.mark.unit


@pytest.fixture
def batch(corpus: Corpus) -> tuple[SyncLoss, Draw, Windows]:
    torch.manual_seed(0)
    sampler = WindowSampler(corpus, WindowConfig(voice=1.0, lost=0.0), 3)
    draw = sampler.draw(12)
    return SyncLoss(SyncExpert(), corpus), draw, sampler.render(draw, 64)


def test_only_windows_with_a_voice_and_a_past_count(corpus: Corpus, batch: tuple[SyncLoss, Draw, Windows]) -> None:
    loss, draw, w = batch
    pictures = w.picture.clone().requires_grad_()
    value = loss(draw, pictures, w.points)
    value.backward()
    assert pictures.grad is not None and 0 < value.item() <= 2
    voiced = torch.tensor([c.voiced for c in corpus.clips])[draw.clip]
    usable = (voiced & (draw.tick >= 4)).nonzero()[:8, 0]
    moved = pictures.grad.abs().amax((1, 2, 3)) > 0
    assert len(usable) > 0 and set(moved.nonzero()[:, 0].tolist()) == set(usable.tolist())
    draw.given[:, 1] = False
    assert loss(draw, pictures, w.points).item() == 0


def test_gradient_stays_at_the_mouth(batch: tuple[SyncLoss, Draw, Windows]) -> None:
    loss, draw, w = batch
    pictures = w.picture.clone().requires_grad_()
    loss(draw, pictures, w.points).backward()
    assert pictures.grad is not None
    share = (pictures.grad.abs() > 0).float().mean((1, 2, 3))
    assert float(share.max()) < 0.4, "a mouth is a small part of a picture"
