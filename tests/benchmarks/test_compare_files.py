"""What `bpp --compare` leaves for the browser page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from benchmarks import bpp, compare_files
from benchmarks.anchors import ANCHORS
from benchmarks.anchors.codec import picture_of
from benchmarks.clips import Clip
from benchmarks.codec_runs import CODECS
from benchmarks.compare_files import SHOWN, CompareFiles, people_name, write_video
from benchmarks.metrics import psnr
from codec_models.errors import UserError, run_command

pytestmark = pytest.mark.unit

COUNT = 10


def pictures(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        assert (stream.codec.name, stream.width, stream.height) == ("h264", 256, 256)
        assert stream.average_rate == 25 and stream.pix_fmt == "yuv420p"
        assert float(stream.start_time * stream.time_base) == 0
        return np.stack([picture_of(f) for f in container.decode(video=0)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two codecs and a baseline on the built-in source."""
    out = tmp_path_factory.mktemp("made") / "deep" / "compare"
    arguments = ["--frames", str(COUNT), "--no-vmaf", "--reconstruction", "still-colour", "--compare", str(out)]
    assert bpp.main([*arguments, "--codecs", "ours-25,h264-floor,bicubic"]) == 0
    return out


def test_the_folder_has_all_files_and_the_json_names_them(folder: Path) -> None:
    written = json.loads((folder / "compare.json").read_text())
    names = {"original.mp4", "ours-25.mp4", "h264-floor.mp4"}
    assert {p.name for p in folder.iterdir()} == names | {"compare.json", "picture.png", "side_by_side.mp4"}
    assert [row["codec"] for row in written["rows"]] == ["ours-25", "bicubic", "h264-floor"]
    for row in written["rows"]:
        assert {"codec", "name", "kbps", "bpp", "bpp_with_still", "psnr", "ssim", "settings"} == row.keys()
    assert "-crf 51" in written["rows"][2]["settings"]
    assert written["clip"] == {"name": "the built-in source", "frames": COUNT, "shown_frames": COUNT}
    assert written["machine"].keys() == {"cpu", "cores", "python", "os"}
    assert written["settings"]["versions"]["av"]
    videos = {video["codec"]: video for video in written["videos"]}
    assert {video["file"] for video in videos.values()} == names
    assert videos["original"]["kbps"] is None and videos["original"]["psnr"] is None
    assert videos["ours-25"]["still_bytes"] > 1000 and videos["h264-floor"]["still_bytes"] is None
    assert videos["h264-floor"]["kbps"] == written["rows"][2]["kbps"] > 1


def test_videos_are_equally_long_and_look_as_decoded(folder: Path) -> None:
    written = json.loads((folder / "compare.json").read_text())
    shown = {video["codec"]: pictures(folder / video["file"]) for video in written["videos"]}
    assert {len(frames) for frames in shown.values()} == {COUNT}
    for video in written["videos"][1:]:
        # what H.264 at CRF 12 and 4:2:0 add to a codec's error is little
        assert psnr(shown["original"], shown[video["codec"]]) == pytest.approx(video["psnr"], abs=0.6)
    with av.open(str(folder / "side_by_side.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == COUNT
    assert cv2.imread(str(folder / "picture.png")).shape[1] > 600


def test_an_mp4_is_visually_lossless_and_starts_with_its_index(tmp_path: Path) -> None:
    base = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.float32), (0, 0), 6)
    base = cv2.normalize(base, np.empty(0), 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([np.roll(base, 2 * k, 1) for k in range(30)]).astype(np.uint8)
    path = tmp_path / "a.mp4"
    write_video(path, frames)
    assert psnr(frames, pictures(path)) > 40
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def clip_of(count: int) -> Clip:
    frames = np.full((count, 256, 256, 3), 90, np.uint8)
    return Clip("long.mp4", frames, np.zeros((count, 1920), np.int16), np.zeros((count, 110, 2), np.float32))


def test_ten_seconds_are_shown_and_nothing_is_left_without_finish(tmp_path: Path) -> None:
    clip = clip_of(260)
    with CompareFiles(tmp_path) as files:
        files.start(clip)
        files.add("h264-floor", clip.frames, {"kbps": 1.0, "psnr": 30.0})
        files.add("bicubic", clip.frames, {"kbps": 1.0, "psnr": 30.0})
        with pytest.raises(ValueError, match="259 frames of 260"):
            files.add("ours-25", clip.frames[1:], {})
        assert len(pictures(files.part("h264-floor.mp4"))) == len(pictures(files.part("original.mp4"))) == 250
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_leaves_the_files_of_the_run_before(tmp_path: Path) -> None:
    (tmp_path / "original.mp4").write_bytes(b"before")
    with pytest.raises(UserError), CompareFiles(tmp_path) as files:
        files.start(clip_of(3))
        raise UserError("the codec stops")
    assert (tmp_path / "original.mp4").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("inside", ["file", "file/compare"])
def test_a_folder_that_cannot_be_written_is_told_in_one_line(
    inside: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    arguments = ["--codecs", "still", "--reconstruction", "still-colour"]
    with pytest.raises(SystemExit) as exit_:
        run_command(lambda: bpp.main([*arguments, "--compare", str(tmp_path / inside)]))
    assert exit_.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "cannot be written" in line and "--compare" in line


def test_names_for_people() -> None:
    assert people_name("h264-floor") == "H.264, its floor"
    assert people_name("h264-zerolatency-crf44") == "H.264, CRF 44"
    assert people_name("h264-crf23") == "H.264, CRF 23, offline"
    assert people_name("vvc-lowdelay-qp47") == "VVC, QP 47"
    assert people_name("h264-128-floor") == "H.264 at 128×128, its floor"
    assert people_name("vvc-64-lowdelay-qp38") == "VVC at 64×64, QP 38"
    assert (
        people_name("ours-5-nohints-noaudio-lookahead1") == "Pinhole, 5 fps, without hints, without audio, look-ahead 1"
    )
    assert people_name("ours-25-stills3") == "Pinhole, 25 fps, 3 stills"
    assert people_name("ours-5-hold") == "Pinhole, 5 fps, frames held"
    assert len({people_name(codec) for codec in CODECS}) == len(CODECS)


def test_shown_are_ours_all_of_h264_av1s_floor_and_vvc_of_a_call() -> None:
    assert [c for c in ANCHORS if SHOWN.fullmatch(c)] == [
        *("h264-crf23", "h264-crf36", "h264-floor", "h264-zerolatency-crf44", "h264-zerolatency-crf37"),
        *("av1-floor", "vvc-lowdelay-qp57", "vvc-lowdelay-qp47"),
    ]
    assert SHOWN.fullmatch("ours-5") and not SHOWN.fullmatch("ours-5-hold")
    assert compare_files.MAX_SHOWN == 250
