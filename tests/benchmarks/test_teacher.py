"""The teacher benchmark on a small clip, with the upsampler that comes with the program and wider ones made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from benchmarks import teacher
from benchmarks.clips import Clip
from codec_models.errors import run_command
from codec_models.landmark_head import StillLandmarks
from codec_models.training.checkpoint import save_weights
from codec_models.training.widen import start_from
from codec_models.upsampler import DEFAULT_WEIGHTS, TEACHER, Upsampler

pytestmark = pytest.mark.unit

COUNT = 6


def make_clip(seed: int = 0) -> Clip:
    """Blurred noise that moves, with the average face for landmarks."""
    face = (StillLandmarks(8).mean.detach().numpy() + 1) / 2
    rng = np.random.default_rng(seed)
    base = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), (0, 0), 6)
    frames = np.stack([np.roll(base, 2 * k, 1) for k in range(COUNT)])
    points = np.stack([face + np.array([2 * k / 256, 0]) for k in range(COUNT)]).astype(np.float32)
    return Clip(f"{seed}.mp4", frames, rng.integers(-3000, 3000, (COUNT, 1920)).astype(np.int16), points)


@pytest.fixture(scope="module")
def wide() -> Upsampler:
    """The shipped upsampler, widened."""
    torch.manual_seed(0)
    network = Upsampler(TEACHER)
    assert start_from(DEFAULT_WEIGHTS, network) == "live"
    return network


def measured(path: Path, tmp_path: Path, *words: str) -> dict[str, Any]:
    out = tmp_path / "figures.json"
    assert teacher.main(["--teacher", str(path), "--precision", "fp32", *words, "--json", str(out)]) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    return written


def test_a_teacher_of_the_same_picture_only_costs_more(
    wide: Upsampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(teacher, "load_clip", lambda source, limit: make_clip())
    path = tmp_path / "teacher.safetensors"
    save_weights(path, wide, {"network": "upsampler", "config": "teacher"})
    written = measured(path, tmp_path, "--no-mesh")
    rows: dict[str, Any] = {row["codec"]: row for row in written["rows"]}
    large, small = rows["teacher"], rows["student"]
    assert large["config"] == "teacher" and small["config"] == "live"
    assert {row["frames"] for row in rows.values()} == {COUNT}
    # rounded to 16 bits in the file, no more
    assert abs(large["psnr_change"]) < 0.02 and abs(large["ssim_change"]) < 0.001
    assert large["psnr_change"] == pytest.approx(large["psnr"] - small["psnr"], abs=1e-5)
    assert small["psnr_change"] == 0 and large["lmd_predicted"] == pytest.approx(small["lmd_predicted"], abs=1e-4)
    assert 0 < small["lmd_predicted"] < 0.5 and 10 < small["psnr"] < 100
    for key in ("brenner_ratio", "brenner_face", "energy_ratio", "energy_face"):
        assert (
            large[key] == pytest.approx(small[key], rel=0.02)
            and small[key] > 0
            and key in written["settings"]["metrics"]
        )
    # the budget of tests/codec_models/test_upsampler.py, and what twice the width costs
    assert 1.5 < small["gflop"] <= 2.0 and 3 * small["gflop"] < large["gflop"] < 6 * small["gflop"]
    assert large["gflop_still"] > 3 * small["gflop_still"] > 1
    count = sum(p.numel() for p in wide.parameters()) / 1e6
    assert large["parameters"] == pytest.approx(count, rel=1e-4) and large["parameters_tick"] < large["parameters"]
    for row in rows.values():
        assert row["ms_p95"] >= row["ms_p50"] > 0 and row["core_ms_p50"] > 0
    assert written["settings"]["reconstruction"].startswith("torch fp32")
    assert "psnr_change" in written["settings"]["metrics"] and "lmd" not in small
    said = capsys.readouterr().out
    assert "one clip" in said and "of 1 clips" in said and "LMD of mesh" not in said


def test_a_spoilt_teacher_is_found_out(wide: Upsampler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teacher, "load_clip", lambda source, limit: make_clip())
    spoilt, path = Upsampler(TEACHER), tmp_path / "spoilt.safetensors"
    spoilt.load_state_dict(wide.state_dict())
    with torch.no_grad():
        spoilt.decoder.draw256[3].bias.add_(0.4)
        spoilt.landmarks.step.bias.add_(1.0)
    save_weights(path, spoilt, {"network": "upsampler", "config": "teacher"})
    # the shipped weights under another name are the student of their own
    large, small = measured(path, tmp_path, "--student", str(DEFAULT_WEIGHTS), "--no-mesh")["rows"]
    assert large["psnr_change"] < -0.1 and large["ssim_change"] < 0
    assert large["lmd_predicted"] > small["lmd_predicted"] + 0.1


def test_a_clip_knows_nothing_of_the_one_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(teacher, "load_clip", lambda source, limit: make_clip(int(Path(source).stem)))
    paths = [tmp_path / f"{seed}.mp4" for seed in (0, 1)]
    for path in paths:
        path.touch()
    alone = measured(DEFAULT_WEIGHTS, tmp_path, "--no-mesh", str(paths[1]))["rows"]
    both = measured(DEFAULT_WEIGHTS, tmp_path, "--no-mesh", *map(str, paths))["rows"]
    assert [(row["codec"], row["clip"]) for row in both[2:]] == [("teacher", "1.mp4"), ("student", "1.mp4")]
    assert both[2]["psnr"] == both[3]["psnr"] == alone[0]["psnr"] != both[0]["psnr"]


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nameless = tmp_path / "nameless.safetensors"
    save_weights(nameless, torch.nn.Linear(1, 1))
    for arguments, word in (
        (["nowhere.mp4", "--teacher", "t"], "nowhere.mp4"),
        (["--teacher", "t", "--frames", "2"], "--frames"),
        (["--teacher", str(tmp_path / "none.safetensors")], "none.safetensors"),
        (["--teacher", str(nameless)], "which config"),
    ):
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda arguments=arguments: teacher.main(arguments))  # type: ignore[misc]
        assert exit_.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ") and word in line
