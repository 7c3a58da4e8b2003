"""The quality benchmark on a small clip with a face mesh of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import face_tracks, landmark_metrics, quality, sharpness
from benchmarks.clips import Clip
from benchmarks.codec_runs import CODECS, CodecRuns, chosen
from benchmarks.ours import STILL_DELAY, OurCodec, Variant
from codec_models.bitstream.face import FaceConfig, FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.errors import UserError, run_command
from codec_models.landmarks import POINTS
from codec_models.reconstruction import StillColour

pytestmark = pytest.mark.unit

COUNT = 14
MESH = np.random.default_rng(1).uniform(60, 200, (478, 2)).astype(np.float32)


def make_clip(count: int = COUNT) -> Clip:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 12), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([np.roll(base, 3 * k, 1) for k in range(count)]).astype(np.uint8)
    points = np.repeat((MESH[list(POINTS)] / 256)[None], count, 0)
    return Clip("synthetic.mp4", frames, np.ones((count, 1920), np.int16), points)


def fake_mesh() -> Any:
    """Finds "faces" that are the darker, the wider the mouth is open."""

    def detect(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        mesh = MESH.copy()
        mesh[14, 1] += float(picture[:, :64].mean())
        return mesh

    return detect


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "load_clip", lambda source, limit: make_clip())
    monkeypatch.setattr(face_tracks, "face_mesh", fake_mesh)


def test_table_json_and_wall(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, wall = tmp_path / "q.json", tmp_path / "wall.png"
    codecs = "ours-25,ours-25-nohints-noaudio,bicubic,still-colour,still,h264-floor"
    arguments = ["--codecs", codecs, "--no-vmaf", "--reconstruction", "still-colour"]
    assert quality.main([*arguments, "--json", str(out), "--wall", str(wall)]) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    assert set(written["mean"]) == set(codecs.split(",")) and len(written["rows"]) == 6
    for row in written["rows"]:
        assert {"kbps", "psnr", "ssim", "ms_ssim", "lmd", "lmd_lips", "lmd_eyes", "face_found"} <= row.keys()
        assert "eye_corr" in row["skipped"] and "vmaf" not in row
        assert sharpness.RATIOS.keys() <= row.keys()
    psnr = {row["codec"]: row["psnr"] for row in written["rows"]}
    for row in written["rows"]:
        assert row["psnr_over_still"] == pytest.approx(psnr[row["codec"]] - psnr["still-colour"], abs=1e-5)
    assert written["mean"]["bicubic"]["brenner_ratio"] < 0.5 < 0.9 < written["mean"]["still"]["brenner_ratio"] < 1.1
    assert {"brenner_face", "psnr_over_still", "kbps_10s"} <= written["settings"]["metrics"].keys()
    assert written["mean"]["h264-floor"]["mouth_corr"] > 0.9 > written["mean"]["still"]["mouth_corr"] == 0
    assert {"csim", "fid", "lse_d"} & written["settings"]["left_out"].keys()
    assert "lmd" in written["settings"]["metrics"] and "voice off" in str(written["settings"]["codecs"])
    text = capsys.readouterr().out
    assert "no eye_corr on synthetic.mp4: its eyes hardly move" in text and "left out: csim" in text
    assert cv2.imread(str(wall)).shape[1] > 4 * 256


def test_without_mediapipe_the_pictures_are_measured(
    small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(face_tracks, "face_mesh", lambda: None)
    monkeypatch.setattr(landmark_metrics, "available", lambda: False)
    assert quality.main(["--codecs", "still", "--no-vmaf"]) == 0
    text = capsys.readouterr().out
    assert "left out: lmd (needs mediapipe" in text and "PSNR" in text and "LMD" not in text
    assert "over still" not in text  # still-colour did not run


def test_more_clips_have_a_table_each(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.mp4"
    path.touch()
    assert quality.main([str(path), str(path), "--codecs", "still", "--no-vmaf"]) == 0
    text = capsys.readouterr().out
    assert f"synthetic.mp4, {COUNT} frames" in text and "2 clips, mean" in text


def test_usual_codecs_exist() -> None:
    assert set(quality.USUAL) <= set(CODECS)
    for name in ("ours-25-stills3", "ours-5-noaudio"):
        assert name in quality.USUAL


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, word in (
        (["nowhere.mp4"], "nowhere.mp4"),
        (["--codecs", "h263"], "h263"),
        (["--frames", "0"], "--frames"),
        (["--sface", "nowhere.onnx"], "--sface"),
    ):
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda arguments=arguments: quality.main(arguments))  # type: ignore[misc]
        assert exit_.value.code == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith("error: ") and word in line


def test_names_of_our_variants() -> None:
    assert Variant.named("ours-25") == Variant(25)
    assert Variant.named("ours-5-nohints-noaudio-stills4") == Variant(5, False, False, stills=4)
    assert Variant.named("ours-5-noteeth-lookahead1") == Variant(5, teeth=False, lookahead=1)
    assert Variant.named("ours-5-hold").lookahead is None
    assert Variant.named("ours-5-lean-q12-nohints") == Variant(5, hints=False, profile="lean", quality=12)
    assert Variant.named("ours-25-q0-w0.25") == Variant(25, quality=0, rate_weight=0.25)
    codecs, _ = chosen(["ours-5-noteeth-hold", "still", "ours-25"])
    assert codecs == ["ours-25", "still", "ours-5-noteeth-hold"]
    for name in ("ours-10", "ours-25-noaudio-nohints", "ours-25-stills1", "bicubic", "ours-25-q16", "ours-25-q8-full"):
        with pytest.raises(ValueError, match=name):
            Variant.named(name)


def test_a_variant_says_how_its_faces_are_coded() -> None:
    assert Variant(5).face_config("lean") == FaceConfig("lean", fps=5)
    assert Variant.named("ours-25-full").face_config("lean").profile == "full"
    config = Variant.named("ours-25-lean-q15-w0.2-nohints").face_config("full")
    assert config == FaceConfig("lean", 15, 25, hints=False, rate_weight=0.2)


def test_a_coarser_step_costs_less_and_shows_in_the_settings() -> None:
    mine = OurCodec(make_clip())
    fine, coarse = (mine.run(name)[1] for name in ("ours-25-q2", "ours-25-q14"))
    assert coarse["kbps"] < fine["kbps"] and coarse["face_psnr"] < fine["face_psnr"] - 5
    assert mine.stream_of(Variant(25)) is mine.stream(25, True)
    mine.run("ours-25-lean-w0.5")
    assert "quality 14" in mine.settings("ours-25-q14") and "rate weight" not in mine.settings("ours-25-q14")
    assert "lean profile" in mine.settings("ours-25-lean-w0.5") and "rate weight 0.5" in mine.settings(
        "ours-25-lean-w0.5"
    )


def test_the_start_is_spread_over_the_length_of_a_call() -> None:
    mine = OurCodec(make_clip(50))
    runs = CodecRuns(lambda variant: StillColour())
    _, row = runs.run("ours-25", mine)
    assert row["kbps_10s"] == pytest.approx(row["kbps"] + len(mine.still[0]) * 8 / 10_000)
    assert row["kbps_10min"] == pytest.approx(row["kbps"] + len(mine.still[0]) * 8 / 600_000)
    assert runs.run("bicubic", mine)[1]["kbps_10s"] == pytest.approx(runs.run("bicubic", mine)[1]["kbps"])
    _, other = runs.run("h264-128-floor", mine)
    first = other["kbps"] * 2 - other["kbps_after_first"] * 49 / 25  # kbit of the first picture
    assert 1 < first < 20 and "128x128" in runs.settings["h264-128-floor"]
    assert other["kbps_10s"] == pytest.approx(other["kbps_after_first"] + first / 10)
    assert other["kbps_10min"] == pytest.approx(other["kbps_after_first"] + first / 600)


class Noting(StillColour):
    made: list[Noting] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, object]] = []
        self.made.append(self)

    def set_identity(self, still: IdentityStill) -> None:
        super().set_identity(still)
        self.events.append(("still", still))

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        self.events.append(("tick", voice is not None))
        return super().tick(face, voice)


def test_voice_and_stills_are_given_as_the_name_says() -> None:
    mine = OurCodec(make_clip(60), reconstructor=lambda variant: Noting())
    Noting.made.clear()
    mine.run("ours-25-noaudio")
    (one,) = Noting.made
    assert one.events[1:] == [("tick", False)] * 60
    _, row = mine.run("ours-25-stills3")
    events = Noting.made[1].events
    stills = [k for k, (what, _) in enumerate(events) if what == "still"]
    assert stills == [0, 1 + 20 + STILL_DELAY]  # the one at tick 40 would come too late
    assert ("tick", True) in events and ("tick", False) not in events
    assert row["identity_bytes"] > 1.5 * len(mine.still[0])


def test_an_unknown_reconstruction_fails_before_any_work() -> None:
    with pytest.raises(SystemExit) as exit_:
        quality.main(["--reconstruction", "magic"])
    assert exit_.value.code == 2
    with pytest.raises(UserError, match="the precision of ONNX Runtime is fp32"):
        quality.main(["--backend", "onnx", "--precision", "int8"])
