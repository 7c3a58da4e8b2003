from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file

from codec_models.errors import UserError
from codec_models.training.__main__ import main

pytestmark = pytest.mark.unit


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["training", "upsampler", *map(str, words)])
    return main()


def common(clips: Path, out: Path) -> list[object]:
    return ["--clips", clips, "--labels", clips / "labels.npz", "--out", out, "--device", "cpu"]


def test_wrong_words_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--minutes", "-1"], ["--batch", "0"], ["--resolution", "100"], ["--config", "big"]):
        with pytest.raises(SystemExit) as failure:
            run(monkeypatch, *common(clips, tmp_path), *words)
        assert failure.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path) -> None:
    with pytest.raises(UserError, match="no such checkpoint"):
        run(monkeypatch, *common(clips, tmp_path), "--resume", tmp_path / "absent.pt")
    with pytest.raises(UserError, match="give one of them"):
        run(monkeypatch, *common(clips, tmp_path), "--resume", "a", "--init", "b")
    with pytest.raises(UserError, match="no such weights file"):
        run(monkeypatch, *common(clips, tmp_path / "new"), "--init", tmp_path / "absent.safetensors")
    (tmp_path / "upsampler_live.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="--resume"):
        run(monkeypatch, *common(clips, tmp_path))


@pytest.mark.slow
def test_the_real_network_trains_resumes_and_is_taken_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path
) -> None:
    out = tmp_path / "run"
    short = ["--minutes", "0.05", "--batch", "1", "--resolution", "64", "--threads", "1"]
    assert run(monkeypatch, *common(clips, out), "--dev", clips, "--dev-clips", "1", *short) == 0
    weights = load_file(out / "upsampler_live.safetensors")
    assert run(monkeypatch, *common(clips, out), "--resume", out / "last.pt", *short) == 0
    again = load_file(out / "upsampler_live.safetensors")
    assert any((weights[k] != again[k]).any() for k in weights)
    other = tmp_path / "other"
    assert run(monkeypatch, *common(clips, other), "--init", out / "upsampler_live.safetensors", *short) == 0
