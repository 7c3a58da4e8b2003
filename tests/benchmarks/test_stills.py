"""The benchmark of the still policy on small scenes with made-up faces, drawn with the weights of the program."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from benchmarks import scenes, stills
from benchmarks.clips import Clip
from benchmarks.sampled_engine import SampledEngine
from benchmarks.stills import NEVER, SWEEPS, Scene, SentStill, Setting, add_gains, pareto
from codec_models.bitstream.face import DEFAULT
from codec_models.bitstream.still import MAX_BYTES, decode_still
from codec_models.engines.torch_engine import TorchEngine
from codec_models.errors import run_command
from codec_models.landmark_head import StillLandmarks
from sender.still_policy import StillConfig

pytestmark = pytest.mark.unit

COUNT = 80
TURNS_DARK = 30
EAGER = Setting("eager", dataclasses.replace(StillConfig(), gap=0.5, per_minute=60, hold=0.2))
ALONE = Setting("first only", dataclasses.replace(StillConfig(), gap=NEVER))


def make_clip(name: str = "synthetic") -> Clip:
    """A face at rest; its left half turns dark at tick 30 and stays so."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 8), np.empty(0), 60, 255, cv2.NORM_MINMAX).astype(np.uint8)
    frames = np.repeat(base[None], COUNT, 0)
    frames[TURNS_DARK:, :, :128] //= 4
    face = (StillLandmarks(8).mean.detach().numpy() + 1) / 2
    voice = np.random.default_rng(1).integers(-3000, 3000, (COUNT, 1920)).astype(np.int16)
    return Clip(name, frames, voice, np.repeat(face[None], COUNT, 0).astype(np.float32))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(make_clip(), 25)


@pytest.fixture(scope="module")
def engine() -> SampledEngine:
    torch.set_num_threads(1)
    return SampledEngine(TorchEngine(bfloat16=False), every=10)


def arrival(seconds: float, still: SentStill, link_kbps: float) -> int:
    return int(np.ceil((seconds + stills.ENCODING_S + len(still.data) * 8 / 1000 / link_kbps) * 25))


def test_stills_are_the_policys_and_travel_at_the_rate_of_the_link(scene: Scene) -> None:
    sent = scene.sent(EAGER, 100.0)
    assert len(sent) == 2 and sent[0].tick == 0 and TURNS_DARK + 4 <= sent[1].tick <= TURNS_DARK + 7
    assert all(s.arrives == arrival((s.tick + 1) / 25, s, 100.0) for s in sent)
    assert decode_still(sent[1].data).picture[:, :128].mean() < 0.5 * decode_still(sent[0].data).picture[:, :128].mean()
    assert [len(s.data) <= MAX_BYTES for s in sent] == [True, True]
    # on a slow link the second one waits for the first
    slow = scene.sent(EAGER, 15.0)
    assert slow[0].arrives == arrival(1 / 25, slow[0], 15.0)
    both = sum(len(s.data) for s in slow) * 8 / 15000
    assert slow[1].arrives == int(np.ceil((1 / 25 + stills.ENCODING_S + both) * 25))
    assert [s.tick for s in scene.sent(ALONE, 100.0)] == [0]


def test_at_5_fps_the_policy_sees_every_fifth_tick() -> None:
    slow = Scene(make_clip(), 5)
    assert len(slow.views()) == COUNT // 5
    assert all(s.tick % 5 == 0 for s in slow.sent(EAGER, 100.0))
    assert sum(t.picture is not None for t in slow.stream(DEFAULT).ticks) == COUNT // 5


def test_a_second_still_costs_and_helps(scene: Scene, engine: SampledEngine) -> None:
    engine.forget()
    alone, eager = (stills.run(scene, setting, engine, 200.0) for setting in (ALONE, EAGER))
    assert (alone["stills"], eager["stills"]) == (1, 2) and alone["kbps"] == eager["kbps"] > 0
    sent = scene.sent(EAGER, 200.0)
    assert eager["still_kbps"] == pytest.approx(sum(len(s.data) for s in sent) * 8 / 1000 / (COUNT / 25))
    assert eager["still_kbps_10min"] == pytest.approx(eager["still_kbps"] * COUNT / 25 / 600)
    assert eager["still_kbps_10s"] == pytest.approx(eager["still_kbps"] * COUNT / 25 / 10)
    # only ticks from the third second on count: the second still is there by then
    assert sent[1].arrives <= 50 and eager["psnr"] > alone["psnr"] + 0.3 and eager["ssim"] > alone["ssim"]
    assert eager["psnr_low"] <= eager["psnr"]


def test_gain_is_against_the_first_still_alone_and_stars_are_not_beaten() -> None:
    def row(still_kbps: float, psnr: float) -> dict[str, Any]:
        return {"kbps": 2.0, "still_kbps": still_kbps, "psnr": psnr}

    mean = {stills.FIRST: row(1, 20), "good": row(3, 21), "bad": row(3, 20.5), "worse": row(4, 20.9)}
    add_gains(mean)
    assert "gain" not in mean[stills.FIRST] and mean["good"]["gain"] == pytest.approx(0.5)
    assert mean["worse"]["gain"] == pytest.approx(0.3)
    assert [name for name, r in mean.items() if r.get("best") == "*"] == [stills.FIRST, "good"]
    assert pareto({"a": (1, 1), "b": (1, 2), "c": (0.5, 0), "d": (9, 2)}) == ["c", "b"]


def test_every_sweep_has_something_to_compare_and_names_differ() -> None:
    for sweep, members in SWEEPS.items():
        names = [setting.name for setting in members]
        assert len(set(names)) == len(names) >= 2, sweep


def test_tables_and_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], engine: SampledEngine
) -> None:
    told = [{"clip_id": f"{who}_{k}", "identity": who, "audio_own": True} for who in "ab" for k in range(2)]
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    for entry in told:
        (tmp_path / f"{entry['clip_id']}.mp4").touch()
    monkeypatch.setattr(scenes, "load_clip", lambda source: make_clip())
    monkeypatch.setattr(stills, "choose", lambda backend, precision, threads: engine.engine)
    monkeypatch.setitem(SWEEPS, "small", [ALONE, EAGER])
    out = tmp_path / "s.json"
    arguments = [str(tmp_path), "--sweeps", "small", "--scenes", "1", "--seconds", "3", "--every", "20"]
    assert stills.main([*arguments, "--link", "200", "--json", str(out)]) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    assert [(r["clip"], r["codec"], r["sweep"]) for r in written["rows"]] == [
        ("a", "first only", "small"),
        ("a", "eager", "small"),
    ]
    mean = written["sweeps"]["small"]
    assert mean["eager"]["gain"] > 0 and "one tick in 20" in written["settings"]["scenes"]
    text = capsys.readouterr().out
    assert "mean over 1 scenes" in text and "eager" in text and "10 min" in text and "gain" in text


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (
        (["nowhere"], "manifest.json"),
        (["nowhere", "--sweeps", "gap,luck"], "luck"),
        (["nowhere", "--every", "0"], "--every"),
        (["nowhere", "--seconds", "1"], "--seconds"),
        (["nowhere", "--sweeps", "at-once", "--backend", "onnx"], "torch"),
    ):
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda arguments=arguments: stills.main(arguments))  # type: ignore[misc]
        assert exit_.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ") and word in line
