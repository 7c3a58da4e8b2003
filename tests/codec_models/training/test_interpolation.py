from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file

from codec_models.errors import UserError
from codec_models.interpolation import Interpolation, InterpolationConfig
from codec_models.training.corpus import Corpus
from codec_models.training.draws import Dice
from codec_models.training.interpolation import (
    InterpolationEvaluation,
    InterpolationRecipe,
    losses,
    psnr,
    train_interpolation,
)
from codec_models.training.keyframes import StretchConfig, StretchSampler
from codec_models.weight_files import filled

pytestmark = pytest.mark.unit


TINY = InterpolationConfig(channels=8, blocks=1, drawn=12)


def fresh(seed: int = 0) -> Interpolation:
    torch.manual_seed(seed)
    return Interpolation(TINY)


def test_untrained_it_measures_as_its_baselines(small_corpus: Corpus) -> None:
    figures = InterpolationEvaluation(StretchSampler(small_corpus), each=2).run(fresh().eval())
    assert figures.live_0 == pytest.approx(figures.hold, abs=1e-3)
    assert figures.live_1 == pytest.approx(figures.linear, abs=1e-3)
    assert figures.linear > figures.hold and figures.hold < figures.window < figures.linear


def test_psnr_is_in_decibels_of_the_full_range() -> None:
    a = torch.zeros(1, 2, 3, 8, 8)
    assert psnr(a, a + 0.02) == pytest.approx(40.0, abs=0.01)


def test_every_term_counts_and_the_jerk_is_that_of_differences(small_corpus: Corpus) -> None:
    s = StretchSampler(small_corpus, StretchConfig(lost=0.0), seed=5).batch(4)
    terms = losses(fresh(), s, InterpolationRecipe(), Dice(1, torch.device("cpu")))
    assert set(terms) == {"between", "ahead", "far", "inside", "jerk"}
    assert all(abs(float(t.detach())) > 0.01 for t in terms.values())
    without = losses(fresh(), s, InterpolationRecipe(jerk=0.0, far=0.0), Dice(1, torch.device("cpu")))
    assert float(without["jerk"].detach()) == float(without["far"].detach()) == 0


def test_it_learns_and_writes_averaged_weights(small_corpus: Corpus, tmp_path: Path) -> None:
    network = fresh()
    recipe = InterpolationRecipe(steps=150, batch=8, learning_rate=3e-3, evaluate_minutes=1e9, ema=0.8)
    held_out = StretchSampler(small_corpus, StretchConfig(lost=0.0), seed=9).batch(16)
    with torch.no_grad():
        before = {k: float(v) for k, v in losses(network, held_out, recipe, Dice(1, torch.device("cpu"))).items()}
    train_interpolation(network, StretchSampler(small_corpus, seed=1), None, recipe, tmp_path)
    shipped = filled(Interpolation(TINY), tmp_path / "interpolation.safetensors")
    with torch.no_grad():
        after = {k: float(v) for k, v in losses(shipped, held_out, recipe, Dice(1, torch.device("cpu"))).items()}
    # of mean squares, so 0.05 is 0.4 dB
    assert after["between"] < before["between"] - 0.05
    assert after["ahead"] / recipe.ahead < before["ahead"] / recipe.ahead - 0.05
    written = load_file(tmp_path / "interpolation.safetensors")
    own = network.state_dict()
    assert any(not torch.equal(written[k], own[k].half()) for k in own), "an average, not the last weights"


def test_the_command_trains_measures_and_goes_on_from_weights(
    monkeypatch: pytest.MonkeyPatch, clips: Path, tmp_path: Path
) -> None:
    from codec_models.training.__main__ import main

    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["training", "interpolation", *map(str, words)])
        return main()

    common = [
        "--clips",
        clips,
        "--labels",
        clips / "labels.npz",
        "--minutes",
        "0.005",
        "--batch",
        "4",
        "--threads",
        "1",
    ]
    first = tmp_path / "first" / "interpolation.safetensors"
    assert run(*common, "--out", first.parent) == 0
    with pytest.raises(UserError, match="exists"):
        run(*common, "--out", first.parent)
    assert run(*common, "--out", tmp_path / "more", "--init", first, "--learning-rate", "1e-4") == 0
    with pytest.raises(UserError, match="no such weights file"):
        run(*common, "--out", tmp_path / "other", "--init", tmp_path / "absent.safetensors")
    assert not (first.parent / "figures.jsonl").exists()
