from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file
from torch import Tensor, nn

from codec_models.landmark_head import HintMotion
from codec_models.training.checkpoint import load_weights
from codec_models.training.corpus import Corpus, read_manifest
from codec_models.training.data import WindowConfig, WindowSampler
from codec_models.training.draws import Dice
from codec_models.training.face_points import AT, eye_distance
from codec_models.training.labels import Labels
from codec_models.training.landmarks import (
    LandmarkEvaluation,
    LandmarkFigures,
    LandmarkRecipe,
    head_points,
    roughened,
    train_landmarks,
)
from codec_models.upsampler import Upsampler, UpsamplerConfig

pytestmark = pytest.mark.unit

TINY = UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)
BARE = WindowConfig(one_still=1.0, faceless=0.0, hints=0.0)


def tiny(seed: int = 0) -> Upsampler:
    torch.manual_seed(seed)
    return Upsampler(TINY)


class HintsAlone(nn.Module):
    """A head that moves the still as the hints say and sees nothing: what its figures must be is known."""

    def __init__(self) -> None:
        super().__init__()
        self.motion = HintMotion()

    def forward(self, low: Tensor, still_low: Tensor, points: Tensor, mel: Tensor, change: Tensor, _: Tensor) -> Tensor:
        moved: Tensor = self.motion(points, change)
        return moved


class VoiceAlone(nn.Module):
    """One that opens the mouth as far as the voice is loud, where there is one."""

    def forward(self, low: Tensor, still_low: Tensor, points: Tensor, mel: Tensor, _: Tensor, told: Tensor) -> Tensor:
        moved = points.clone()
        moved[:, :, AT[14], 1] += (0.1 + 0.1 * mel[:, None, :, -4:].mean((2, 3))) * told[..., -1]
        return moved


def with_head(head: nn.Module) -> Upsampler:
    network = tiny()
    network.landmarks = head  # type: ignore[assignment]
    return network


def test_a_run_learns_and_writes_the_whole_network(small_corpus: Corpus, tmp_path: Path) -> None:
    network, dev = tiny(), WindowSampler(small_corpus)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    first = LandmarkEvaluation(dev).run(copy.deepcopy(network).eval())
    recipe = LandmarkRecipe(steps=60, batch=16, learning_rate=0.01, ema=0.9)
    figures = train_landmarks(network, WindowSampler(small_corpus, BARE, seed=1), dev, recipe, tmp_path, "live")
    assert figures is not None
    # from the 8x8 pictures alone
    assert figures.bare < 0.75 * first.bare and figures.voice < 0.75 * first.voice and figures.still == first.still
    line = json.loads((tmp_path / "figures.jsonl").read_text().splitlines()[-1])
    assert line.pop("landmark step") == 60
    assert line == {name: round(v, 4) for name, v in dataclasses.asdict(figures).items()}

    written = load_file(tmp_path / "upsampler_live.safetensors")
    assert written.keys() == before.keys()
    for name, t in written.items():
        mine = network.state_dict()[name]
        if name.startswith("landmarks."):
            assert not torch.equal(t, before[name].half()), name
        else:
            assert torch.equal(t, before[name].half()) and torch.equal(mine, before[name]), name
        # what goes on to be trained is what was measured and written
        assert torch.equal(t, mine.half()), name
    loaded = tiny(1).eval()
    load_weights(tmp_path / "upsampler_live.safetensors", loaded)
    again = LandmarkEvaluation(dev).run(loaded)
    assert dataclasses.astuple(again) == pytest.approx(dataclasses.astuple(figures), abs=0.01)


def test_without_dev_clips_there_are_weights_and_no_figures(small_corpus: Corpus, tmp_path: Path) -> None:
    recipe = LandmarkRecipe(steps=2, batch=4)
    assert train_landmarks(tiny(), WindowSampler(small_corpus), None, recipe, tmp_path, "paper") is None
    assert [path.name for path in tmp_path.iterdir()] == ["upsampler_paper.safetensors"]


def test_a_run_ends_in_time_with_at_least_a_step(small_corpus: Corpus, tmp_path: Path) -> None:
    network = tiny()
    before = network.landmarks.step.weight.clone()
    recipe = LandmarkRecipe(minutes=1e-4, batch=4)
    train_landmarks(network, WindowSampler(small_corpus), None, recipe, tmp_path, "live")
    assert not torch.equal(network.landmarks.step.weight, before)


def test_the_rate_rises_and_falls() -> None:
    recipe = LandmarkRecipe(learning_rate=1.0)
    assert recipe.rate(0, 0.0) == pytest.approx(0.01) and recipe.rate(99, 0.0) == pytest.approx(1.0)
    assert recipe.rate(999, 0.5) == pytest.approx(0.505) and recipe.rate(999, 1.0) == pytest.approx(0.01)
    rates = [recipe.rate(999, p / 10) for p in range(11)]
    assert rates == sorted(rates, reverse=True)


def test_the_head_answers_in_training_as_in_a_call(corpus: Corpus) -> None:
    network = tiny().eval()
    sampler = WindowSampler(corpus, WindowConfig(one_still=1.0, faceless=0.0), seed=3)
    w = sampler.render(sampler.draw(4), 256)
    with torch.no_grad():
        identity = network.encode_stills(w.stills, w.still_low, w.still_points)
        drawn = network(identity, w.low, w.mel, w.hints, w.has)
        assert torch.allclose(head_points(network, w), drawn.points, atol=1e-5)


def test_several_stills_are_averaged(small_corpus: Corpus) -> None:
    network = tiny().eval()
    sampler = WindowSampler(small_corpus, WindowConfig(one_still=0.0), seed=2)
    w = next(w for w in (sampler.render_small(sampler.draw(4)) for _ in range(20)) if w.still_points.shape[1] == 3)
    points, low = w.still_points, w.still_low
    with torch.no_grad():
        alone = [
            head_points(network, dataclasses.replace(w, still_points=points[:, k, None], still_low=low[:, k, None]))
            for k in range(3)
        ]
        assert torch.allclose(head_points(network, w), torch.stack(alone).mean(0), atol=1e-5)


def test_figures_of_the_voice_are_made_with_it_alone(small_corpus: Corpus) -> None:
    figures = LandmarkEvaluation(WindowSampler(small_corpus)).run(with_head(VoiceAlone()))
    assert figures.voice_mouth > 0.5 and figures.voice != pytest.approx(figures.still, abs=1e-3)
    assert math.isnan(figures.bare_mouth), "a mouth that never moves goes with nothing"
    assert figures.bare == pytest.approx(figures.still, abs=1e-5)


def test_figures_mean_what_they_say(small_corpus: Corpus) -> None:
    sampler = WindowSampler(small_corpus)
    figures = LandmarkEvaluation(sampler).run(with_head(HintsAlone()))
    assert figures.distance < 0.25 * figures.still and figures.lips < 0.05 and figures.eyes < 0.05
    assert figures.mouth > 0.95 and figures.lids > 0.95
    # without the hints such a head leaves the still where it is
    assert figures.bare == pytest.approx(figures.still, abs=1e-5)
    stills = []
    for k, clip in enumerate(small_corpus.clips):
        w = sampler.render_small(sampler.plain(k, list(range(12, clip.frames)), [0]))
        apart = (w.still_points[:, 0] - w.points).norm(dim=-1) / eye_distance(w.points)[:, None]
        stills.append((float(apart.mean()), clip.voiced))
    assert figures.still == pytest.approx(sum(s for s, _ in stills) / 4, abs=1e-5)
    assert figures.voice == pytest.approx(sum(s for s, voiced in stills if voiced) / 2, abs=1e-5), "of voiced clips"


def test_figures_are_numbers_and_those_of_a_voice_need_one(small_corpus: Corpus, clips: Path) -> None:
    network = tiny().eval()
    figures = LandmarkEvaluation(WindowSampler(small_corpus)).run(network)
    assert all(math.isfinite(v) for v in dataclasses.astuple(figures)), figures
    rows = [row for row in read_manifest(clips) if not row.own_voice]
    silent = Corpus(rows, Labels(clips / "labels.npz"), torch.device("cpu"), 0, pictures=False)
    unheard = LandmarkEvaluation(WindowSampler(silent)).run(network)
    unknown = {f.name for f in dataclasses.fields(LandmarkFigures) if math.isnan(getattr(unheard, f.name))}
    assert unknown == {"voice", "voice_lips", "voice_mouth"}


def test_rough_windows_keep_their_truth_and_follow_the_dice(small_corpus: Corpus) -> None:
    sampler = WindowSampler(small_corpus, WindowConfig(one_still=1.0), 3)
    w = sampler.render_small(sampler.draw(8))
    made = [roughened(w, Dice(seed, torch.device("cpu"))) for seed in (1, 1, 2)]
    assert torch.equal(made[0].low, made[1].low) and not torch.equal(made[0].low, made[2].low)
    assert torch.equal(made[0].points, w.points) and torch.equal(made[0].hints, w.hints)
    assert 0.001 < (made[0].low - w.low).abs().mean() < 0.2
    silent = w.has[:, 1] == 0
    assert torch.equal(made[0].mel[silent], w.mel[silent])


def test_a_rough_run_drops_features_and_writes_weights(small_corpus: Corpus, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Upsampler()
    recipe = LandmarkRecipe(steps=3, batch=4, rough=True, unhinted_mouth=8.0)
    train_landmarks(network, WindowSampler(small_corpus, seed=1), None, recipe, tmp_path, "live")
    low = network.landmarks.low
    x = torch.ones(1, low.in_features)
    assert not torch.equal(low.train()(x), low.eval()(x)), "it drops features while it trains"
    assert torch.equal(low.eval()(x), low.eval()(x))
    load_weights(tmp_path / "upsampler_live.safetensors", Upsampler())
