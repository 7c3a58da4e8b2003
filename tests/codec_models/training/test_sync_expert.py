from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from codec_models.training.corpus import Corpus
from codec_models.training.sync_expert import (
    SyncExpert,
    SyncRecipe,
    SyncSampler,
    mouth_crops,
    sync_figures,
    train_sync,
)

pytestmark = pytest.mark.unit


def test_crops_show_the_mouth(corpus: Corpus) -> None:
    index = torch.arange(8)
    crops = mouth_crops(corpus.pictures(index, 256), corpus.points[index])
    assert crops.shape == (8, 3, 48, 96)
    middle = crops[:, :, 20:28, 44:52].mean((2, 3))
    assert (middle[:, 0] - middle[:, 1] > 0.2).all()  # the painted mouth is red, the skin is not


def test_learns_pairs_and_has_a_gradient() -> None:
    expert = SyncExpert()
    mouths, mel = torch.rand(6, 5, 3, 48, 96) * 2 - 1, torch.rand(6, 80, 20) * 2 - 1
    optimiser = torch.optim.Adam(expert.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        loss = expert.contrast(mouths, mel)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    seen, heard = expert(mouths, mel)
    assert ((seen @ heard.T).argmax(1) == torch.arange(6)).all()
    mine = mouths.clone().requires_grad_()
    torch.autograd.backward(expert.distance(mine, mel).sum())
    assert mine.grad is not None and (mine.grad != 0).any()


def test_figures_find_the_offset() -> None:
    torch.manual_seed(0)

    class Mirror(SyncExpert):
        """Reads a clock that is written into both."""

        def forward(self, mouths: torch.Tensor, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            clocks = mouths[:, -1, 0, 0, 0] * 10, mel[:, 0, -1] * 10
            return tuple(torch.stack([c.cos(), c.sin()], 1) for c in clocks)  # type: ignore[return-value]

    clock = torch.arange(60) / 60
    mouths = clock[:, None, None, None].expand(60, 3, 48, 96)
    mel = (clock - 3 / 60).repeat_interleave(4)[:, None].expand(240, 80)
    figures = sync_figures(Mirror(), mouths, mel)
    assert figures.offset == 3 and figures.lse_d < 1e-4 and figures.lse_c > 0.3


def test_recipe_writes_weights(corpus: Corpus, tmp_path: Path) -> None:
    assert SyncSampler(corpus).clips == 2
    train_sync(corpus, None, SyncRecipe(steps=2, clips=2, windows=4), tmp_path)
    assert not SyncExpert.load(tmp_path / "sync_expert.safetensors").training
