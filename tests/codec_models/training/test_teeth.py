from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file

from codec_models.errors import UserError
from codec_models.landmark_head import HintMotion, StillLandmarks
from codec_models.mouth import cut, feather, mouth_corner, teeth_shown
from codec_models.teeth import Teeth, TeethConfig
from codec_models.training.__main__ import main
from codec_models.training.checkpoint import load_checkpoint, load_weights
from codec_models.training.corpus import Corpus, read_manifest
from codec_models.training.data import WindowSampler
from codec_models.training.degrade import blurred
from codec_models.training.labels import Labels
from codec_models.training.mouth_figures import brenner, energy, mouth_figures, restored, unit
from codec_models.training.mouths import Harvest, MouthConfig, Mouths, harvest, harvest_pairs
from codec_models.training.teeth import (
    MouthSampler,
    TeethRecipe,
    TeethTraining,
    TeethWeights,
    local_energy,
    train_teeth,
)
from codec_models.upsampler import Upsampler, UpsamplerConfig

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")
TINY = TeethConfig(width=8, middle=8, deep=16)
QUICK = TeethRecipe(steps=6, batch=4, bfloat16=False, critic=4, critic_from=0.0, worse=0.25)


def small_upsampler() -> Upsampler:
    torch.manual_seed(0)
    return Upsampler(UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)).eval()


def painted(count: int = 24) -> Mouths:
    """Striped mouths, drawn softly; the reference is the true mouth, so that there is something to be learned."""
    torch.manual_seed(0)
    points = HintMotion()(StillLandmarks(8).mean.detach()[None], torch.tensor([0.15, *[0.0] * 11])).detach()
    points = points.expand(count, -1, -1).contiguous()
    corner = mouth_corner(points)
    side = torch.arange(96.0)
    stripes = torch.sin(side * torch.rand(count, 1, 1, 1) * 1.5 + 6 * torch.rand(count, 1, 1, 1)).expand(-1, 3, 96, -1)
    truth = ((stripes * 0.5 + 1) * 127.5).to(torch.uint8)
    drawn = (blurred(truth.float(), torch.full((count,), 2.0))).clamp(0, 255).to(torch.uint8)
    return Mouths(drawn, truth, truth.clone(), points, points, corner, corner)


def training(pool: Mouths, recipe: TeethRecipe = QUICK) -> TeethTraining:
    torch.manual_seed(0)
    return TeethTraining(Teeth(TINY), pool, small_upsampler().still, recipe, CPU)


def same(a: Mouths, b: Mouths) -> bool:
    return all(torch.equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Mouths))


def test_mouths_are_harvested_where_the_upsampler_sees_them(corpus: Corpus) -> None:
    config = MouthConfig(samples=8, ticks=2, batch=4)
    source = Harvest(small_upsampler(), WindowSampler(corpus, config.windows, 3), config, bfloat16=False)
    mouths = source.batch()
    assert len(mouths) == 4 and mouths.drawn.dtype == torch.uint8 and mouths.truth.shape == (4, 3, 96, 96)
    assert torch.equal(mouths.corner, mouth_corner(mouths.points))
    assert torch.equal(mouths.reference_corner, mouth_corner(mouths.reference_points))
    assert not torch.equal(mouths.drawn, mouths.truth)
    again = Harvest(small_upsampler(), WindowSampler(corpus, config.windows, 3), config, bfloat16=False)
    assert same(again.batch(), mouths)


def test_the_reference_is_the_still_that_shows_teeth_best(corpus: Corpus) -> None:
    config = MouthConfig(ticks=1, batch=8, better=1.0)
    config = dataclasses.replace(
        config, windows=dataclasses.replace(config.windows, other_light=0.0, poor_still=0.0, coded_still=0.0)
    )
    never = dataclasses.replace(config, better=0.0)
    shown = []
    for how in (config, never):
        source = Harvest(small_upsampler(), WindowSampler(corpus, how.windows, 5), how, bfloat16=False)
        parts = [source.batch() for _ in range(4)]
        pool = Mouths.together(parts)
        canvas = torch.zeros(len(pool), 3, 256, 256)
        for picture, crop, (x, y) in zip(canvas, unit(pool.reference), pool.reference_corner.tolist(), strict=True):
            picture[:, y : y + 96, x : x + 96] = crop
        shown.append(float(teeth_shown(pool.reference_points, canvas).mean()))
    assert shown[0] > 1.05 * shown[1]


def test_pairs_are_of_neighbours_cut_in_one_place(corpus: Corpus) -> None:
    pool = harvest_pairs(small_upsampler(), corpus, pairs=9, bfloat16=False)
    assert len(pool) == 2 * 9 * len(corpus.clips)
    assert torch.equal(pool.corner[::2], pool.corner[1::2])
    # the truth is the clip's own frame, not resampled
    clip = corpus.clips[0]
    tick = int(np.unique(np.linspace(12, clip.frames - 2, 9).astype(int))[3])
    frames = corpus.pictures(torch.tensor([clip.start + tick, clip.start + tick + 1]), 256)
    apart = unit(pool.truth[6:8]) - cut(frames, pool.corner[6:8])
    assert float(apart.abs().max()) < 0.005
    first = cut(corpus.pictures(torch.tensor([clip.start]), 256), pool.reference_corner[6:7])
    assert float((unit(pool.reference[6:7]) - first).abs().max()) < 0.005


def test_a_pool_is_kept_and_anything_else_refused(tmp_path: Path, clips: Path) -> None:
    rows, labels = read_manifest(clips), Labels(clips / "labels.npz")
    counts: list[int] = []
    config = MouthConfig(samples=6, ticks=2, batch=4)
    pool = harvest(small_upsampler(), rows, labels, config, 1, False, lambda done, of: counts.append(done))
    assert len(pool) == 6 and counts == [4, 6]
    pool.save(tmp_path / "deep" / "mouths.npz")
    assert same(Mouths.load(tmp_path / "deep" / "mouths.npz"), pool)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["mouths.npz"]
    (tmp_path / "text.npz").write_text("nothing")
    np.savez(tmp_path / "other.npz", drawn=np.zeros(3))
    stored = {f.name: getattr(pool, f.name).numpy() for f in fields(Mouths)}
    np.savez(tmp_path / "shape.npz", **(stored | {"points": np.zeros((6, 68, 2))}))
    for name in ("text", "other", "shape"):
        with pytest.raises(UserError, match="pool of mouths"):
            Mouths.load(tmp_path / f"{name}.npz")


def test_figures_are_those_of_the_paper() -> None:
    grey = torch.rand(2, 1, 5, 6) * 255
    f = grey[0, 0].double().numpy()
    expected = sum((f[r + 2, c] - f[r, c]) ** 2 for r in range(3) for c in range(6))
    assert float(brenner(grey)[0]) == pytest.approx(expected, rel=1e-5)
    expected = sum((f[r + 1, c] - f[r, c]) ** 2 + (f[r, c + 1] - f[r, c]) ** 2 for r in range(4) for c in range(5))
    assert float(energy(grey)[0]) == pytest.approx(expected, rel=1e-5)


def test_a_silent_network_leaves_the_figures_as_they_were() -> None:
    pool = painted(8)
    silent = Teeth(TINY).eval()
    with torch.no_grad():
        silent.gain.bias.fill_(-100.0)
    figures = mouth_figures(silent, pool)
    assert set(figures) == {"all", "open"} and figures["open"].mouths == 8
    f = figures["all"]
    assert f.psnr == f.psnr_drawn and f.psnr_lips == f.psnr_lips_drawn and f.energy == 1
    # the stripes stand upright: nothing changes from row to row
    assert f.brenner == f.brenner_truth == 0
    assert f.energy_truth > 1.5 and f.flicker == f.flicker_drawn < 1
    wrong = (unit(pool.drawn) - unit(pool.truth)).square().mean((1, 2, 3))
    assert f.psnr == pytest.approx(float((10 * torch.log10(4 / wrong)).mean()), abs=1e-3)


def test_local_energy_sees_detail_wherever_it_is() -> None:
    torch.manual_seed(0)
    noise = torch.rand(1, 3, 96, 96)
    assert local_energy(noise).shape == (1, 2, 22, 22)
    there = float((local_energy(noise) - local_energy(noise.roll(1, -1))).abs().mean())
    soft = float((local_energy(noise) - local_energy(blurred(noise, torch.tensor([1.0])))).abs().mean())
    assert soft > 5 * there
    flat = torch.zeros(1, 3, 96, 96, requires_grad=True)
    local_energy(flat).sum().backward()
    assert flat.grad is not None and torch.isfinite(flat.grad).all()


def test_detail_is_not_asked_for_where_all_is_wrong() -> None:
    t = training(painted(4), dataclasses.replace(QUICK, worse=0.0))
    b = t.sampler.batch()
    lost = dataclasses.replace(b, drawn=b.drawn + 0.8)
    soft, wrong = (float(t._plain_terms(x.drawn, x.drawn, b.truth, x)["energy"]) for x in (b, lost))
    assert 0 < wrong < 0.3 * soft


def test_the_wish_for_detail_reaches_the_gains_alone() -> None:
    weights = TeethWeights(l1=0, l2=0, gradient=0, energy=1, perceptual=0, features=0, adversarial=0)
    t = training(painted(4), dataclasses.replace(QUICK, weights=weights))
    t.advance(0.5)
    assert t.network.out.weight.grad is None or not t.network.out.weight.grad.any()
    assert t.network.gain.weight.grad is not None and t.network.gain.weight.grad.any()


def test_batches_are_augmented_alike() -> None:
    recipe = dataclasses.replace(QUICK, batch=16, worse=0.0, coded=0.0, same=0.0)
    pool = painted(4)
    pool = dataclasses.replace(pool, drawn=pool.truth)
    b = MouthSampler(pool, recipe, CPU).batch()
    assert torch.equal(b.drawn, b.truth) and torch.equal(b.reference, b.truth)
    plain = feather(pool.points[:1], pool.corner[:1])
    flipped = sum(torch.equal(soft, plain[0].flip(-1)) for soft in b.soft)
    assert 0 < flipped < 16 and all(torch.equal(s, plain[0]) or torch.equal(s, plain[0].flip(-1)) for s in b.soft)
    rough = MouthSampler(pool, dataclasses.replace(recipe, worse=1.0), CPU).batch()
    assert not torch.equal(rough.drawn, rough.truth) and torch.equal(rough.reference, rough.truth)


def test_a_resumed_run_gives_the_same_numbers(tmp_path: Path) -> None:
    pool = painted()

    def advance(t: TeethTraining, steps: int) -> list[dict[str, float]]:
        return [{k: float(v) for k, v in t.advance(t.step / 6).items()} for _ in range(steps)]

    whole = training(pool)
    expected = advance(whole, 4)
    assert {"l1", "l2", "gradient", "energy", "perceptual", "adversarial", "features"} == set(expected[0])
    first = training(pool)
    assert advance(first, 2) == expected[:2]
    torch.save(first.state(), tmp_path / "last.pt")
    second = training(pool)
    second.load_state(load_checkpoint(tmp_path / "last.pt", CPU))
    assert advance(second, 2) == expected[2:]
    for a, b in zip(second.average.state_dict().values(), whole.average.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(UserError, match="another network"):
        second.load_state(first.state() | {"network": {"other": torch.zeros(1)}})


@pytest.mark.slow
def test_a_run_learns_to_undo_the_blur(tmp_path: Path) -> None:
    pool = painted()
    weights = TeethWeights(adversarial=0.0, features=0.0)
    recipe = dataclasses.replace(QUICK, steps=60, batch=8, learning_rate=4e-3, ema=0.9, worse=0.0, weights=weights)
    torch.manual_seed(0)
    t = training(pool, recipe)
    figures = train_teeth(t, pool.take(slice(12)), tmp_path)
    assert figures is not None
    f = figures["all"]
    assert f.psnr_lips > f.psnr_lips_drawn + 1 and f.psnr > f.psnr_drawn and f.energy > 1.1
    line = json.loads((tmp_path / "figures.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 60 and line["all"]["psnr"] == f.psnr and {"open", "unknown"} <= set(line)
    kept = Teeth(TINY).eval()
    load_weights(tmp_path / "teeth_live.safetensors", kept)
    made, soft = restored(kept, pool.take(slice(2)))
    drawn = unit(pool.drawn[:2])
    assert torch.allclose(made[(soft == 0).expand_as(made)], drawn[(soft == 0).expand_as(made)], atol=1e-6)
    assert not torch.allclose(made, drawn, atol=0.02)
    assert load_checkpoint(tmp_path / "last.pt", CPU)["step"] == 60


def test_the_critic_is_listened_to_late() -> None:
    recipe = dataclasses.replace(QUICK, critic_from=0.2)
    assert [recipe.listening(p) for p in (0.0, 0.2, 0.3, 0.4, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    t = training(painted(8), recipe)
    assert "adversarial" not in t.advance(0.1) and "adversarial" in t.advance(0.9)
    assert recipe.rate(0.5, 999) == recipe.learning_rate and recipe.rate(0.8, 999) < 0.6 * recipe.learning_rate


def test_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> None:
    def run(*words: object) -> int:
        common = ("--clips", clips, "--labels", clips / "labels.npz", "--device", "cpu", "--threads", 1, "--batch", 2)
        monkeypatch.setattr(sys, "argv", ["training", "teeth", *map(str, (*common, *words))])
        return main()

    out = tmp_path / "run"
    short = ("--minutes", 0.01, "--samples", 4)
    assert run("--out", out, "--dev", clips, "--dev-clips", 1, *short) == 0
    weights = load_file(out / "teeth_live.safetensors")
    assert weights.keys() == Teeth().state_dict().keys() and all(t.dtype == torch.float16 for t in weights.values())
    assert len(Mouths.load(out / "mouths.npz")) == 4 and len(Mouths.load(out / "mouths_dev.npz")) == 24
    assert "all" in json.loads((out / "figures.jsonl").read_text().splitlines()[-1])
    steps = load_checkpoint(out / "last.pt", CPU)["step"]
    with pytest.raises(UserError, match="--resume"):
        run("--out", out, *short)
    assert run("--out", out, "--resume", out / "last.pt", *short) == 0
    assert load_checkpoint(out / "last.pt", CPU)["step"] > steps >= 1
    other = tmp_path / "other"
    words = ("--pool", out / "mouths.npz", "--init", out / "teeth_live.safetensors", "--adversarial", 0, "--energy", 1)
    assert run("--out", other, *words, *short) == 0
    assert not (other / "mouths.npz").exists() and (other / "teeth_live.safetensors").is_file()
    with pytest.raises(UserError, match="give one of them"):
        run("--out", tmp_path / "third", "--resume", "a", "--init", "b")
    with pytest.raises(UserError, match="no trained weights"):
        run("--out", tmp_path / "fourth", "--upsampler", tmp_path / "absent.safetensors", *short)
