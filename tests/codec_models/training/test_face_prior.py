from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.numpy import load_file, save_file

from codec_models.bitstream.face import STEPS, FaceConfig
from codec_models.bitstream.prior import WEIGHTS
from codec_models.errors import UserError
from codec_models.training.face_prior import PriorNetwork, PriorRecipe, qualities, restore, train

pytestmark = pytest.mark.unit

SHIPPED = load_file(WEIGHTS)


def test_a_restored_prior_is_the_same_integers() -> None:
    network = PriorNetwork(PriorRecipe())
    restore(network, WEIGHTS)
    for k, group in enumerate(network.groups):
        w = {name: t.detach().double().numpy() for name, t in group.state_dict().items()}
        assert (np.rint(w["first.weight"] * 2**10) == SHIPPED[f"{k}.w1"]).all()
        assert (np.rint((w["first.bias"] + w["position"]) * 2**13) == SHIPPED[f"{k}.b1"]).all()
        assert (np.rint(w["third.weight"] * 2**10) == SHIPPED[f"{k}.w3"]).all()
        assert (np.rint(w["third.bias"] * 2**16) == SHIPPED[f"{k}.b3"]).all()


def test_training_goes_on_from_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(40, 200, (1, 8, 8, 3))
    clip = np.clip(base + rng.integers(-6, 7, (30, 8, 8, 3)), 0, 255).astype(np.uint8)
    hints = [np.zeros((30, 12), np.float32)]
    begin, out = tmp_path / "begin.safetensors", tmp_path / "out" / "prior.safetensors"
    save_file(SHIPPED, begin)
    train([clip], hints, out, PriorRecipe(minutes=1e-4, learning_rate=1e-9), begin)
    written = load_file(out)
    assert written.keys() == SHIPPED.keys()
    for name in ("0.w1", "3.w2", "6.b3"):
        assert np.abs(written[name] - SHIPPED[name]).max() <= 1
    assert (written["frequency"] != SHIPPED["frequency"]).any() and written["frequency"].shape == (56, 5, 33)


@pytest.mark.parametrize("content", [b"no safetensors", None, {"0.w1": np.zeros((2, 2), np.int32)}])
def test_other_files_are_refused_in_a_line(tmp_path: Path, content: bytes | dict[str, np.ndarray] | None) -> None:
    path = tmp_path / "x.safetensors"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file(content, path)
    with pytest.raises(UserError, match="check --init"):
        restore(PriorNetwork(PriorRecipe()), path)


def test_most_steps_are_near_the_encoders_own() -> None:
    drawn = qualities(np.random.default_rng(1), 4000, PriorRecipe(usual=0.6))
    near = np.abs(drawn - FaceConfig().quality) <= 3
    assert 0.7 < near.mean() < 0.85 and set(drawn.tolist()) == set(range(len(STEPS)))
