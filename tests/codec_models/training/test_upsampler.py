from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file
from tiny_upsampler import TinyUpsampler

from codec_models.errors import UserError
from codec_models.training.checkpoint import claim_folder, load_checkpoint, load_weights
from codec_models.training.corpus import Corpus
from codec_models.training.data import WindowSampler
from codec_models.training.evaluation import Evaluation, correlation
from codec_models.training.upsampler import Run, UpsamplerRecipe, UpsamplerTraining, train
from codec_models.training.world import World

pytestmark = pytest.mark.unit

CPU = World(torch.device("cpu"))
QUICK = UpsamplerRecipe(steps=6, batch=2, resolution=64, curriculum=(), bfloat16=False)


def fresh(corpus: Corpus, recipe: UpsamplerRecipe = QUICK) -> UpsamplerTraining:
    torch.manual_seed(0)
    return UpsamplerTraining(TinyUpsampler(), WindowSampler(corpus, seed=1), recipe, CPU)


def advance(training: UpsamplerTraining, steps: int) -> list[dict[str, float]]:
    return [
        {k: float(v) for k, v in training.advance(training.step / QUICK.steps).items()}  # type: ignore[operator]
        for _ in range(steps)
    ]


@pytest.mark.parametrize("phase", ["plain", "gan"])
def test_a_resumed_run_gives_the_same_numbers(corpus: Corpus, tmp_path: Path, phase: str) -> None:
    recipe = dataclasses.replace(QUICK, phase=phase)
    whole = fresh(corpus, recipe)
    expected = advance(whole, 4)
    first = fresh(corpus, recipe)
    assert advance(first, 2) == expected[:2]
    torch.save(first.state(), tmp_path / "last.pt")
    # whether low resolutions come first is the plan's matter, not that of the run that goes on with it
    second = fresh(corpus, dataclasses.replace(recipe, curriculum=((64, 1.0),)))
    second.load_state(load_checkpoint(tmp_path / "last.pt", CPU.device))
    assert second.recipe.curriculum == recipe.curriculum
    assert advance(second, 2) == expected[2:]
    for a, b in zip(second.average.state_dict().values(), whole.average.state_dict().values(), strict=True):
        assert (a == b).all()


def test_a_run_learns_writes_and_goes_on(corpus: Corpus, tmp_path: Path) -> None:
    recipe = dataclasses.replace(QUICK, steps=24, batch=4, learning_rate=0.004, ema=0.5)
    evaluation = Evaluation(WindowSampler(corpus), windows=3, clips=1)
    torch.manual_seed(0)
    figures = train(TinyUpsampler(), WindowSampler(corpus, seed=1), evaluation, recipe, CPU, Run(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert figures is not None and lines[-1]["step"] == 24
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 0.1
    assert lines[0]["psnr_bicubic"] == lines[-1]["psnr_bicubic"] > 10
    # the landmarks are none of this training's business
    assert lines[-1]["landmarks"] == lines[0]["landmarks"] < 0.5 * lines[0]["landmarks_still"]
    assert lines[-1]["mouth"] > 0.9 and lines[-1]["eyes"] > 0.9
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    weights = load_file(tmp_path / "upsampler_live.safetensors")
    assert all(t.dtype == torch.float16 for t in weights.values())
    kept = TinyUpsampler()
    load_weights(tmp_path / "upsampler_live.safetensors", kept)
    assert torch.equal(kept.landmarks.basis, TinyUpsampler().landmarks.basis.half().float())
    assert not torch.equal(kept.paint.weight, TinyUpsampler().paint.weight)
    more = dataclasses.replace(recipe, steps=25)
    resumed = Run(tmp_path, resume=tmp_path / "last.pt")
    train(TinyUpsampler(), WindowSampler(corpus, seed=1), None, more, CPU, resumed)
    assert load_checkpoint(tmp_path / "last.pt", CPU.device)["step"] == 25


def test_ends_in_time(corpus: Corpus, tmp_path: Path) -> None:
    recipe = dataclasses.replace(QUICK, steps=None, minutes=0.07)
    train(TinyUpsampler(), WindowSampler(corpus, seed=1), None, recipe, CPU, Run(tmp_path))
    assert load_checkpoint(tmp_path / "last.pt", CPU.device)["step"] >= 1


def test_schedule() -> None:
    recipe = UpsamplerRecipe(curriculum=((64, 0.1), (128, 0.5)), cooldown=0.3, learning_rate=1.0)
    assert [recipe.side(p) for p in (0, 0.2, 0.6, 1.0)] == [64, 128, 256, 256]
    assert dataclasses.replace(recipe, resolution=128).side(0.9) == 128
    assert recipe.rate(0.0, 0) == pytest.approx(1 / 200) and recipe.rate(0.5, 999) == 1
    assert recipe.rate(0.85, 999) == pytest.approx(0.5) and recipe.rate(1.0, 999) == pytest.approx(0.02)


def test_files_are_guarded(tmp_path: Path, corpus: Corpus) -> None:
    claim_folder(tmp_path / "a", ["last.pt"], False)
    (tmp_path / "a" / "last.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="--resume"):
        claim_folder(tmp_path / "a", ["last.pt"], False)
    claim_folder(tmp_path / "a", ["last.pt"], True)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "a" / "last.pt", CPU.device)
    with pytest.raises(UserError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt", CPU.device)
    with pytest.raises(UserError, match="not a safetensors"):
        load_weights(tmp_path / "a" / "last.pt", TinyUpsampler())
    state = fresh(corpus).state()
    state["network"] = {"other": torch.zeros(1)}
    with pytest.raises(UserError, match="another network"):
        fresh(corpus).load_state(state)


def test_correlation() -> None:
    a = torch.arange(10.0)
    assert correlation(a, 3 * a - 1) == pytest.approx(1) and correlation(a, -a) == pytest.approx(-1)
    assert correlation(a, torch.ones(10)) is None
