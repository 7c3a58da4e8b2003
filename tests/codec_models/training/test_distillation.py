from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from tiny_upsampler import TinyUpsampler

from codec_models.errors import UserError
from codec_models.training.checkpoint import save_weights
from codec_models.training.corpus import Corpus
from codec_models.training.data import WindowSampler
from codec_models.training.distillation import Teacher, load_teacher
from codec_models.training.losses import LossWeights
from codec_models.training.upsampler import UpsamplerRecipe, UpsamplerTraining
from codec_models.training.world import World
from codec_models.upsampler import LIVE, Upsampler

pytestmark = pytest.mark.unit

CPU = World(torch.device("cpu"))
QUICK = UpsamplerRecipe(steps=30, batch=2, resolution=64, curriculum=(), bfloat16=False, learning_rate=0.01)


def painter(seed: int) -> TinyUpsampler:
    """Paints something that no clip shows, and moves stills as none is moved."""
    network, g = TinyUpsampler(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        network.paint.weight.copy_(0.2 * torch.randn(network.paint.weight.shape, generator=g))
        network.flow.fill_(0.2)
    return network


def test_a_student_comes_near_its_teacher(corpus: Corpus) -> None:
    """Without one it goes its own way."""
    sampler = WindowSampler(corpus, seed=7)
    w = sampler.render(sampler.plain(0, [12, 20, 28], [0]), 64)
    teacher = Teacher(painter(1), CPU.device, bfloat16=False)
    aim = teacher(w)
    apart = {}
    for weight in (0.0, 5.0):
        recipe = dataclasses.replace(QUICK, weights=LossWeights(distil=weight, motion=0), ema=0.0)
        torch.manual_seed(0)
        listening = UpsamplerTraining(
            TinyUpsampler(), WindowSampler(corpus, seed=1), recipe, CPU, teacher=teacher if weight else None
        )
        terms = [listening.advance(0.5) for _ in range(20)]
        assert ("distil" in terms[0]) == (weight > 0)
        made = listening.predict(w)
        apart[weight] = float((made.picture - aim.picture).abs().mean())
        moved = float(made.flow.mean())
        assert moved == 0 if weight == 0 else 0.05 < moved < 0.3
    assert apart[5.0] < 0.5 * apart[0.0], apart


def test_a_teacher_is_left_as_it_is(corpus: Corpus) -> None:
    network = painter(1)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    w = WindowSampler(corpus, seed=3).batch(2, 64)
    taught = Teacher(network, CPU.device)(w)
    assert not any(t.requires_grad for t in taught) and not network.training
    full = Teacher(network, CPU.device, bfloat16=False)(w)
    assert 0 < float((taught.picture.float() - full.picture).abs().max()) < 0.05, "bfloat16"
    training = UpsamplerTraining(
        TinyUpsampler(), WindowSampler(corpus, seed=1), QUICK, CPU, teacher=Teacher(network, CPU.device)
    )
    training.advance(0.5)
    assert all(torch.equal(t, before[name]) for name, t in network.state_dict().items())


def test_a_file_names_its_config(tmp_path: Path, corpus: Corpus) -> None:
    torch.manual_seed(0)
    path = tmp_path / "live.safetensors"
    save_weights(path, Upsampler(LIVE), {"network": "upsampler", "config": "live"})
    made = load_teacher(path, CPU.device)(WindowSampler(corpus, seed=3).batch(1))
    assert made.picture.shape == (1, 3, 256, 256) and made.flow.shape[2:] == (2, 64, 64)
    save_weights(tmp_path / "nameless.safetensors", Upsampler(LIVE))
    with pytest.raises(UserError, match="does not say of which config"):
        load_teacher(tmp_path / "nameless.safetensors", CPU.device)
    with pytest.raises(UserError, match="no such weights file"):
        load_teacher(tmp_path / "absent.safetensors", CPU.device)
