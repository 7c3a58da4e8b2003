"""Weights between two trainings."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file

from codec_models.errors import UserError
from codec_models.training.checkpoint import save_weights
from codec_models.training.mix import mix
from codec_models.training.widen import stored_config
from codec_models.upsampler import DEFAULT_WEIGHTS, LIVE, TEACHER, Upsampler

pytestmark = pytest.mark.unit


def test_a_share_of_the_way(tmp_path: Path) -> None:
    other, out = tmp_path / "other.safetensors", tmp_path / "out.safetensors"
    torch.manual_seed(0)
    save_weights(other, Upsampler(LIVE), {"network": "upsampler", "config": "live"})
    start, end = load_file(DEFAULT_WEIGHTS), load_file(other)
    for share in (0.0, 0.25, 1.0):
        mix(DEFAULT_WEIGHTS, other, share, out)
        made = load_file(out)
        assert set(made) == set(start) and stored_config(out) == "live"
        for name, tensor in made.items():
            if tensor.is_floating_point() and name in dict(Upsampler(LIVE).named_parameters()):
                wanted = (1 - share) * start[name].float() + share * end[name].float()
                assert torch.allclose(tensor.float(), wanted, atol=2e-3, rtol=2e-3), name


def test_strangers_are_refused(tmp_path: Path) -> None:
    wide, broken, out = (tmp_path / f"{name}.safetensors" for name in ("wide", "broken", "out"))
    save_weights(wide, Upsampler(TEACHER), {"network": "upsampler", "config": "teacher"})
    broken.write_bytes(b"no weights")
    for start, end in ((wide, DEFAULT_WEIGHTS), (DEFAULT_WEIGHTS, broken), (tmp_path / "absent", DEFAULT_WEIGHTS)):
        with pytest.raises(UserError) as told:
            mix(start, end, 0.5, out)
        assert "\n" not in str(told.value) and not out.exists()
    with pytest.raises(UserError, match="0 to 1"):
        mix(DEFAULT_WEIGHTS, DEFAULT_WEIGHTS, 1.5, out)
    with pytest.raises(UserError, match="cannot write"):
        mix(DEFAULT_WEIGHTS, DEFAULT_WEIGHTS, 0.5, tmp_path / "absent" / "out.safetensors")
