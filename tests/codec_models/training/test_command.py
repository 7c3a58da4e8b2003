from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from safetensors.torch import load_file

from codec_models.errors import UserError
from codec_models.training.__main__ import main
from codec_models.training.checkpoint import save_weights
from codec_models.upsampler import Upsampler

pytestmark = pytest.mark.unit


SHORT = ["--minutes", "0.05", "--batch", "1", "--resolution", "64", "--threads", "1"]


def run(monkeypatch: pytest.MonkeyPatch, *words: object, command: str = "upsampler") -> int:
    monkeypatch.setattr(sys, "argv", ["training", command, *map(str, words)])
    return main()


def heads(path: Path) -> dict[str, torch.Tensor]:
    """Weights of the landmark head in a file."""
    return {name: t for name, t in load_file(path).items() if name.startswith("landmarks.")}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


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
    with pytest.raises(UserError, match="no such weights file"):
        run(monkeypatch, *common(clips, tmp_path / "new"), "--teacher", tmp_path / "absent.safetensors")
    with pytest.raises(UserError, match="--teacher"):
        run(monkeypatch, *common(clips, tmp_path / "new"), "--distil", "0.3")
    (tmp_path / "upsampler_live.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="--resume"):
        run(monkeypatch, *common(clips, tmp_path))


def test_wrong_words_for_the_landmark_head_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--minutes", "0"], ["--learning-rate", "-1"], ["--config", "big"], ["--resume", "last.pt"]):
        with pytest.raises(SystemExit) as failure:
            run(monkeypatch, *common(clips, tmp_path), *words, command="landmarks")
        assert failure.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(UserError, match="no such weights file"):
        run(monkeypatch, *common(clips, tmp_path), "--init", tmp_path / "absent.safetensors", command="landmarks")


def test_the_landmark_head_is_trained_and_the_upsampler_leaves_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["--minutes", "0.005", "--batch", "8", "--threads", "1"]
    first = tmp_path / "head" / "upsampler_live.safetensors"
    words = [*common(clips, first.parent), "--dev", clips, "--dev-clips", "1", *short]
    assert run(monkeypatch, *words, command="landmarks") == 0
    figures = json.loads((first.parent / "figures.jsonl").read_text().splitlines()[-1])
    assert figures["landmark step"] >= 1 and figures["distance"] > 0
    torch.manual_seed(0)
    fresh = Upsampler().state_dict()
    written = load_file(first)
    changed = {name for name in fresh if not torch.equal(fresh[name].half(), written[name])}
    assert changed and changed <= set(heads(first))
    with pytest.raises(UserError, match="exists"):
        run(monkeypatch, *words, command="landmarks")

    more = tmp_path / "more" / "upsampler_live.safetensors"
    assert run(monkeypatch, *common(clips, more.parent), "--init", first, *short, command="landmarks") == 0
    assert not same(heads(first), heads(more))
    again = load_file(more)
    assert all(torch.equal(again[n], written[n]) for n in written if not n.startswith("landmarks."))

    capsys.readouterr()
    drawn = tmp_path / "drawn" / "upsampler_live.safetensors"
    assert run(monkeypatch, *common(clips, drawn.parent), "--init", first, *SHORT[2:], "--minutes", "0.01") == 0
    assert "landmark head" not in capsys.readouterr().err
    assert same(heads(first), heads(drawn))
    assert any(not torch.equal(t, written[n]) for n, t in load_file(drawn).items())


@pytest.mark.slow
def test_from_nothing_the_landmark_head_comes_first_then_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run" / "upsampler_live.safetensors"
    assert run(monkeypatch, *common(clips, out.parent), "--dev", clips, "--dev-clips", "1", *SHORT) == 0
    said = capsys.readouterr().err
    assert 0 <= said.index("parameters of the landmark head") < said.index("parameters, from step 0")
    torch.manual_seed(0)
    fresh = Upsampler().state_dict()
    head, weights = heads(out), load_file(out)
    assert not same(head, {name: fresh[name].half() for name in head})

    last = out.parent / "last.pt"
    assert run(monkeypatch, *common(clips, out.parent), "--resume", last, *SHORT) == 0
    assert "landmark head" not in capsys.readouterr().err
    again = load_file(out)
    assert any((weights[k] != again[k]).any() for k in weights)
    assert same(head, heads(out)), "what the head has learned is left as it is"


@pytest.mark.slow
def test_a_teacher_starts_from_live_weights_and_then_teaches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    live = tmp_path / "live.safetensors"
    save_weights(live, Upsampler(), {"network": "upsampler", "config": "live"})
    short = ["--dev", clips, "--dev-clips", "1", *SHORT[2:], "--minutes", "0.01", "--resolution", "256"]
    out = tmp_path / "teacher" / "upsampler_teacher.safetensors"
    assert run(monkeypatch, *common(clips, out.parent), "--config", "teacher", "--init", live, *short) == 0
    assert "widened from live" in capsys.readouterr().err
    student = tmp_path / "student"
    assert run(monkeypatch, *common(clips, student), "--init", live, "--teacher", out, "--distil", "1", *short) == 0
    assert "widened" not in (said := capsys.readouterr().err) and "distil flow" in said
    first, same_start = (
        json.loads((folder / "figures.jsonl").read_text().splitlines()[0]) for folder in (out.parent, student)
    )
    assert first["psnr"] == pytest.approx(same_start["psnr"], abs=0.05), "both begin with the same picture"
