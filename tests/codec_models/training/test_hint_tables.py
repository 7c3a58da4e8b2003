from __future__ import annotations

import sys
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from codec_models.bitstream.hints import STEPS, Hints, HintState
from codec_models.bitstream.prior import HINT_CONTEXTS, HINT_REACH, HINTS, WEIGHTS, FacePrior, face_prior
from codec_models.bitstream.rangecoder import TOTAL, RangeDecoder, RangeEncoder
from codec_models.errors import UserError
from codec_models.training.__main__ import main
from codec_models.training.hint_tables import clip_hints, clip_paths, hint_tables

pytestmark = pytest.mark.unit


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The shipped prior with the six hints that it had in version 1."""
    tensors = load_file(WEIGHTS)
    tensors["hint_mean"], tensors["hint_frequency"] = tensors["hint_mean"][:6], tensors["hint_frequency"][:6]
    path = tmp_path / "prior.safetensors"
    save_file(tensors, path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, clips: Path, labels: Path, weights: Path) -> int:
    words = ["training", "hint-tables", str(clips), "--labels", str(labels), "--weights", str(weights)]
    monkeypatch.setattr(sys, "argv", words)
    return main()


def test_only_the_hint_tables_change(
    monkeypatch: pytest.MonkeyPatch, clips: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="this version"):
        FacePrior(weights)
    assert run(monkeypatch, clips, clips / "labels.npz", weights) == 0
    assert "4 clips, 160 ticks" in capsys.readouterr().out
    shipped, written = load_file(WEIGHTS), load_file(weights)
    assert written.keys() == shipped.keys()
    for name, tensor in written.items():
        assert tensor.dtype == shipped[name].dtype and tensor.shape == shipped[name].shape
        assert (tensor.tobytes() == shipped[name].tobytes()) == (not name.startswith("hint_"))
    assert (written["hint_frequency"].sum(-1) == TOTAL).all() and written["hint_frequency"].min() >= 1
    FacePrior(weights)
    assert not list(weights.parent.glob("*.partial"))


def test_counted_tables_suit_what_they_were_counted_on(
    monkeypatch: pytest.MonkeyPatch, clips: Path, weights: Path
) -> None:
    run(monkeypatch, clips, clips / "labels.npz", weights)
    hints = clip_hints(clip_paths(clips), clips / "labels.npz")
    sizes = []
    for prior in (FacePrior(weights), face_prior()):
        bits = 0.0
        for clip in hints:
            encoder, decoder = HintState(prior), HintState(prior)
            for row in clip.tolist():
                coder = RangeEncoder()
                encoder.encode(Hints(*row), coder)
                bits += coder.bits
                decoder.decode(RangeDecoder(coder.finish()))
                assert decoder.hints() == encoder.hints()
        sizes.append(bits)
    assert sizes[0] < 0.8 * sizes[1]


def test_means_are_whole_steps_and_every_context_has_its_table() -> None:
    rest = np.array(astuple(Hints(0.1, 0.5, 0.1, 0.1, 0.0, 0.0, 0.5, 0.5, -1.6, 0.0, 0.0, 1e3)), np.float32)
    mean, frequency = hint_tables([np.tile(rest, (60, 1))])
    assert mean.shape == (HINTS,) and frequency.shape == (HINTS, HINT_CONTEXTS, 2 * HINT_REACH + 3)
    assert mean[:-1].tolist() == np.rint(rest / STEPS)[:-1].tolist() and mean[-1] == 24
    assert (frequency.argmax(-1) == HINT_REACH + 1).all()


def test_clips_without_labels_are_left_out(clips: Path, tmp_path: Path) -> None:
    paths = [*clip_paths(clips), tmp_path / "stranger.mp4"]
    hints = clip_hints(paths, clips / "labels.npz")
    assert [h.shape for h in hints] == [(40, HINTS)] * 4
    with pytest.raises(UserError, match="none of these clips"):
        clip_hints(paths[-1:], clips / "labels.npz")


def test_what_is_wrong_is_named_and_the_weights_stay(
    monkeypatch: pytest.MonkeyPatch, clips: Path, weights: Path, tmp_path: Path
) -> None:
    before = weights.read_bytes()
    labels = clips / "labels.npz"
    (tmp_path / "text.safetensors").write_text("no weights")
    save_file({"mean": np.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    for folder, archive, file, said in (
        (tmp_path / "empty", labels, weights, "no \\*.mp4 clips"),
        (clips, tmp_path / "absent.npz", weights, "no such labels file"),
        (clips, labels, tmp_path / "absent.safetensors", "no such weights file"),
        (clips, labels, tmp_path / "text.safetensors", "not a safetensors file"),
        (clips, labels, tmp_path / "other.safetensors", "not hold a face prior"),
    ):
        with pytest.raises(UserError, match=said):
            run(monkeypatch, folder, archive, file)
    assert weights.read_bytes() == before
