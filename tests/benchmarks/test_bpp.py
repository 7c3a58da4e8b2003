"""The comparison with standard codecs: figures, JSON, picture, video and the errors of its command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from benchmarks import bitstream, bpp, clips
from benchmarks.anchors import ANCHORS
from benchmarks.clips import Clip, load_clip
from benchmarks.ours import BASELINES, NAMES, OurCodec, code_faces, rate
from benchmarks.published import published_rows
from benchmarks.side_by_side import CAPTION, caption
from codec_models.bitstream.face import FaceConfig
from codec_models.errors import UserError, run_command
from codec_models.landmarks import POINTS

pytestmark = pytest.mark.unit

COUNT = 11


@pytest.fixture(scope="module")
def clip() -> Clip:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 12), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([np.roll(base, 3 * k, 1) for k in range(COUNT)]).astype(np.uint8)
    points = np.random.default_rng(1).uniform(0.3, 0.7, (COUNT, len(POINTS), 2)).astype(np.float32)
    points[7] = np.nan  # no face in this picture
    voice = (np.random.default_rng(2).normal(0, 2000, (COUNT, 1920))).astype(np.int16)
    return Clip("synthetic", frames, voice, points)


@pytest.fixture
def as_source(monkeypatch: pytest.MonkeyPatch, clip: Clip) -> None:
    for module in (bpp, bitstream):
        monkeypatch.setattr(module, "load_clip", lambda source, limit: clip)


@pytest.mark.parametrize("name", [*NAMES, *BASELINES])
def test_our_codecs_rates_and_pictures(name: str, clip: Clip) -> None:
    mine = OurCodec(clip)
    frames, row = mine.run(name)
    assert frames.shape == clip.frames.shape and frames.dtype == np.uint8
    still = len(mine.still[0])
    if name == "still":
        assert row["kbps"] == 0 and (frames == frames[0]).all()
    else:
        stream = mine.stream(5 if name.startswith("ours-5") else 25, name in NAMES and "nohints" not in name)
        assert row["kbps"] == pytest.approx(stream.total_bytes * 8 / 1000 / (COUNT / 25))
        assert row["bpp"] == pytest.approx(stream.total_bytes * 8 / (COUNT * 65536))
        assert len(stream.coded) == (3 if name.startswith("ours-5") else COUNT)
        assert row["face_psnr"] > 25
    expected = 0 if name == "bicubic" else still
    assert row["bpp_with_still"] == pytest.approx(row["bpp"] + expected * 8 / (COUNT * 65536))
    assert ("hint_kbps" in row) == (name in ("ours-25", "ours-5"))
    assert mine.settings(name)


def test_hints_cost_something_and_are_absent_without_a_face(clip: Clip) -> None:
    mine = OurCodec(clip)
    assert 0 < mine.run("ours-25")[1]["hint_kbps"] < mine.run("ours-25")[1]["kbps"]
    assert clip.hints_at(7) is None and clip.points_at(7) is None and clip.hints_at(6) is not None


def test_decoded_ticks_line_up_with_the_originals(clip: Clip) -> None:
    stream = code_faces(clip, FaceConfig(fps=5, hints=False))
    assert stream.coded == [0, 5, 10]
    errors = np.abs(stream.decoded().astype(int) - stream.originals[stream.coded]).mean((1, 2, 3))
    assert errors.max() < 10


def test_hints_go_with_every_tick_that_has_a_face_even_at_5_fps(clip: Clip) -> None:
    stream = code_faces(clip, FaceConfig(fps=5))
    assert [k for k, tick in enumerate(stream.ticks) if tick.hints is None] == [7]


def test_rate_of_one_bit_a_pixel() -> None:
    assert rate(256 * 256 // 8 * 25, 25)["bpp"] == 1
    assert rate(256 * 256 // 8 * 25, 25)["kbps"] == pytest.approx(65.536 * 25)


def test_json_table_plot_and_video(
    as_source: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], clip: Clip
) -> None:
    out, plot, video = (tmp_path / name for name in ("o.json", "o.png", "o.mp4"))
    codecs = "ours-25,bicubic,h264-floor,h264-crf36,av1-floor,h264-64-floor"
    arguments = ["--codecs", codecs, "--no-vmaf", "--json", str(out), "--plot", str(plot), "--video", str(video)]
    assert bpp.main(arguments) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    assert {r["codec"] for r in written["rows"]} == set(codecs.split(",")) == set(written["mean"])
    for row in written["rows"]:
        assert {"codec", "clip", "kbps", "bpp", "bpp_with_still", "psnr", "ssim", "ms_ssim"} <= row.keys()
        assert "vmaf" not in row
    assert set(written["settings"]["codecs"]) == set(codecs.split(","))
    assert "-crf 51" in written["settings"]["codecs"]["h264-floor"]
    assert not any("published" in name for name in written["mean"])
    text = capsys.readouterr().out
    assert text.count("(published)") == len(published_rows()) == len(written["published"]["rows"])
    assert "zerolatency" in text
    assert cv2.imread(str(plot)).shape[1] > 600
    with av.open(str(video)) as container:
        assert container.streams.video[0].width == 5 * 256 + 4 * 4
        assert container.streams.video[0].height == 256 + CAPTION
        assert sum(1 for _ in container.decode(video=0)) == COUNT
    with av.open(str(video)) as container:
        samples = [f.to_ndarray() for f in container.decode(audio=0)]
        assert np.abs(np.concatenate(samples, 1)).max() > 0.01


def test_published_rows_are_the_papers() -> None:
    rows = {row["codec"]: row for row in published_rows()}
    assert rows["H.264 CRF 23 (published)"]["psnr"] == 32.96
    assert rows["paper (published)"]["kbps"] == pytest.approx(37.68, abs=0.01)
    assert "bpp" not in rows["fs-vid2vid (published)"]


def fails_with(arguments: list[str], capsys: pytest.CaptureFixture[str], main: Any = bpp.main) -> str:
    """The one line on stderr of a command that fails."""
    with pytest.raises(SystemExit) as exit_:
        run_command(lambda: main(arguments))
    assert exit_.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere.mp4" in fails_with(["nowhere.mp4"], capsys)
    told = fails_with(["--codecs", "ours-25,h263"], capsys)
    assert "h263" in told and all(name in told for name in (*NAMES, *BASELINES, *ANCHORS))
    assert "--frames" in fails_with(["--frames", "0"], capsys)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all" * 100)
    assert "broken.mp4" in fails_with([str(broken), "--codecs", "still"], capsys)
    assert "nowhere.mp4" in fails_with(["nowhere.mp4"], capsys, bitstream.main)


def test_a_codec_that_cannot_run_is_left_out_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.anchors.vvc.ffmpeg_path", lambda: None)
    codecs, left_out = bpp.chosen(None)
    assert not any(c.startswith("vvc") for c in codecs) and "vvc-qp32" in left_out
    with pytest.raises(UserError, match="imageio-ffmpeg"):
        bpp.chosen(["vvc-qp32"])
    assert bpp.chosen(["h264-floor", "ours-25"])[0] == ["ours-25", "h264-floor"]


def test_bitstream_table_and_json(as_source: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.json"
    assert bitstream.main(["--json", str(out)]) == 0
    written = json.loads(out.read_text())
    assert set(written["mean"]) == {f"{p}-{f}{h}" for p in ("full", "lean") for f in (25, 5) for h in ("", "-nohints")}
    row = written["mean"]["full-25"]
    assert {"kbps", "bpp", "hint_kbps", "face_psnr", "face_psnr_luma", "encode_ms_p95", "decode_ms_p50"} <= row.keys()
    assert row["kbps"] > written["mean"]["full-25-nohints"]["kbps"] > 0
    assert "full-25-nohints" in capsys.readouterr().out


def write_video(path: Path, side: int) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for k in range(6):
            picture = np.full((side, side, 3), 40 * k, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


@pytest.mark.parametrize("side", [256, 320])
def test_a_clip_is_the_same_from_the_cache(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clips, "CACHE", tmp_path / "cache")
    path = tmp_path / "a.mp4"
    write_video(path, side)
    assert clips.is_final(str(path)) == (side == 256)
    first = load_clip(str(path), 5)
    assert first.frames.shape == (5, 256, 256, 3) and first.voice.shape == (5, 1920)
    assert first.points_at(0) is None
    (cached,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(clips, "FaceTracker", lambda **_: pytest.fail("the cache is not used"))
    again = load_clip(str(path), 5)
    assert np.array_equal(first.frames, again.frames) and np.array_equal(first.voice, again.voice)
    assert np.array_equal(first.points, again.points, equal_nan=True)
    cached.write_bytes(b"damaged")
    monkeypatch.undo()
    monkeypatch.setattr(clips, "CACHE", tmp_path / "cache")
    assert np.array_equal(load_clip(str(path), 5).frames, first.frames)


def test_captions_are_drawn() -> None:
    assert caption("one\ntwo").shape == (CAPTION, 256, 3)
    assert (caption("one\ntwo") < 128).sum() > (caption("one") < 128).sum() > 50
