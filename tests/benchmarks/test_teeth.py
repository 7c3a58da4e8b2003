"""The teeth benchmark on a small clip, with the upsampler that comes with the program and random teeth weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import save_file

from benchmarks import teeth
from benchmarks.clips import Clip
from codec_models.errors import run_command
from codec_models.landmark_head import StillLandmarks
from codec_models.landmarks import POINTS
from codec_models.teeth import Teeth

pytestmark = pytest.mark.unit

COUNT = 6


def make_clip(faces: bool = True) -> Clip:
    """Two colours and a mouth that opens, where the average face has its own."""
    face = (StillLandmarks(8).mean.detach().numpy() + 1) / 2
    mouth = 256 * face[:40].mean(0)
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), (0, 0), 4)
    frames, points = [], []
    for k in range(COUNT):
        frame, now = base.copy(), face.copy()
        at = (round(float(mouth[0])), round(float(mouth[1])))
        cv2.ellipse(frame, at, (24, 3 + 3 * k), 0, 0, 360, (230, 220, 210), -1)
        now[POINTS.index(14), 1] = now[POINTS.index(13), 1] + 0.012 * k
        frames.append(frame)
        points.append(now if faces else np.full_like(now, np.nan))
    voice = rng.integers(-3000, 3000, (COUNT, 1920)).astype(np.int16)
    return Clip("synthetic.mp4", np.stack(frames), voice, np.stack(points).astype(np.float32))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = Teeth()
    torch.nn.init.normal_(model.out.weight, std=0.3)
    path = tmp_path_factory.mktemp("weights") / "teeth.safetensors"
    save_file(model.state_dict(), path)
    return path


def test_tables_json_and_wall(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(teeth, "load_clip", lambda source, limit: make_clip())
    out, wall = tmp_path / "t.json", tmp_path / "wall.png"
    assert teeth.main(["--weights", str(weights), "--json", str(out), "--wall", str(wall)]) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    rows: dict[str, Any] = {row["codec"]: row for row in written["rows"]}
    assert tuple(rows) == teeth.CODECS and {row["frames"] for row in rows.values()} == {COUNT}
    for name in ("brenner", "laplacian", "smd", "smd2", "variance", "energy", "vollath", "entropy"):
        assert rows["upsampler"][f"{name}_gain"] == 1
        assert rows["truth"][f"{name}_gain"] == pytest.approx(rows["truth"][name] / rows["upsampler"][name], rel=1e-3)
    assert rows["truth"]["psnr"] == rows["truth"]["psnr_mouth"] == 100 and rows["truth"]["flicker"] == 1
    mine = rows["upsampler+teeth"]
    # random weights make noise: sharper and farther from the truth, which must show
    assert mine["energy_gain"] > 1.05 and mine["psnr_change"] < 0 and mine["psnr_mouth_change"] < mine["psnr_change"]
    assert 0.5 <= mine["gate"] <= 1 and mine["ms_p95"] >= mine["ms_p50"] > 0 and 0.1 < mine["gflop"] < 1
    unsharp = rows["unsharp"]
    assert unsharp["brenner_gain"] == pytest.approx(mine["brenner_gain"], abs=0.02) and unsharp["amount"] > 0
    assert rows["upscaled"]["energy_gain"] < 1 and rows["upscaled"]["ms_p50"] > 0
    assert 0 < mine["open_share"] < 1 and mine["open_share"] + mine["closed_share"] == pytest.approx(1)
    assert "sigma" in written["settings"]["unsharp"] and "+ teeth" in written["settings"]["reconstruction"]
    text = capsys.readouterr().out
    assert "Brenner" in text and "flicker" in text and f"amount {unsharp['amount']:.2f}" in text
    image = cv2.imread(str(wall))
    assert image.shape[1] == 4 * 292 + 4 and image.shape[0] > 2 * 310


def test_where_no_face_is_found_the_drawn_mouth_tells(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codec_models.engines.torch_engine import torch_network

    clip = make_clip(faces=False)
    with teeth.Progress(1, "measuring") as show:
        run = teeth.run_clip(clip, torch_network(teeth=weights), show)
    assert np.isfinite(run.places.opening).all() and run.reference.shape == (96, 96, 3)
    assert run.before.shape == run.after.shape == clip.frames.shape
    rows = teeth.rows_of(clip, run)
    assert [row["codec"] for row in rows] == list(teeth.CODECS)
    assert teeth.wall_rows(clip, run)


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (
        (["nowhere.mp4"], "nowhere.mp4"),
        (["--frames", "1"], "--frames"),
        (["--weights", str(tmp_path / "none.safetensors")], "none.safetensors"),
        (["--upsampler-weights", str(tmp_path / "other.safetensors")], "other.safetensors"),
    ):
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda arguments=arguments: teeth.main(arguments))  # type: ignore[misc]
        assert exit_.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ") and word in line
