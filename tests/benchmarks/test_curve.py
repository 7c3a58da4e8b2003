"""The curves of whole codecs: families and fronts of given figures, and a run on a small clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import curve, face_tracks
from benchmarks.anchors import CALL_ANCHORS
from benchmarks.clips import Clip
from benchmarks.curve import near, report
from benchmarks.curve_families import MEASURES, REFERENCE, as_json, counts, families, family_of, nearest, side_of
from benchmarks.ours import is_ours
from benchmarks.report import Row, mean_rows
from codec_models.errors import UserError
from codec_models.landmarks import POINTS

pytestmark = pytest.mark.unit

PSNR, _, _, LMD = MEASURES
COUNT = 12


def row(codec: str, kbps: float, psnr: float, clip: str = "a", **more: float) -> Row:
    return {"codec": codec, "clip": clip, "kbps": kbps, "kbps_10s": kbps + 4, "psnr": psnr, **more}


ROWS = [
    row("ours-25-full-q12", 1, 22),
    row("ours-25-full-q6", 2, 24),
    row("ours-25-lean-q6", 1.5, 21),
    row("h264-64-floor", 2, 22),
    row("h264-floor", 4, 24),
    row("vvc-floor", 30, 30),
    row("vvc-lowdelay-qp47", 40, 33),
]


def test_codecs_have_families_and_sides() -> None:
    assert {family_of(codec) for codec in CALL_ANCHORS} == {"H.264", "H.265", "VP9", "AV1", "H.266"}
    assert [family_of(c) for c in ("ours-5-lean-q12", "ours-25", "still-colour")] == [
        *("ours, 5 fps", REFERENCE, "still-colour")
    ]
    assert [side_of(c) for c in ("h264-floor", "h264-64-floor", "ours-25", "vvc-128-lowdelay-qp38")] == [
        *(256, 64, 256, 128)
    ]
    assert {side_of(codec) for codec in CALL_ANCHORS} == {64, 128, 256}


def test_a_family_that_needs_twice_the_rate() -> None:
    found = {f.name: f for f in families(ROWS, mean_rows(ROWS), PSNR, "kbps")}
    assert [p.name for p in found[REFERENCE].front] == ["ours-25-full-q12", "ours-25-full-q6"]
    assert [p.name for p in found[REFERENCE].others] == ["ours-25-lean-q6"] and found[REFERENCE].against is None
    against = found["H.264"].against
    assert against is not None and against.percent == pytest.approx(100)
    assert as_json(found["H.264"])["bd_rate_percent"] == against.percent
    # four kilobits more for everybody: less than twice the rate
    spread = {f.name: f.against for f in families(ROWS, mean_rows(ROWS), PSNR, "kbps_10s")}["H.264"]
    assert spread is not None and spread.percent is not None and 15 < spread.percent < 35


def test_what_has_no_overlap_is_said_in_words() -> None:
    found = families(ROWS, mean_rows(ROWS), PSNR, "kbps")
    by_name = {f.name: f for f in found}
    assert as_json(by_name["H.266"])["bd_rate_percent"] is None
    assert [p.name for p in nearest(by_name[REFERENCE], by_name["H.266"])] == ["ours-25-full-q6", "vvc-floor"]
    assert near(PSNR, by_name[REFERENCE], by_name["H.266"]) == (
        "nearest: vvc-floor with 30.00 at 30.00 kb/s, ours-25-full-q6 with 24.00 at 2.00 kb/s"
    )
    text = report(PSNR, "kbps", found)
    assert "H.266: no overlap: ours lies entirely left and below; nearest: vvc-floor" in text
    assert "+100 %" in text and "22.00 to 24.00, 100 % of ours" in text and "2 of 3" in text


def test_only_figures_of_every_clip_and_of_faces_that_are_found_make_a_point() -> None:
    rows = [row("h264-floor", 4, 24, clip, lmd=0.1, face_found=found) for clip, found in (("a", 1.0), ("b", 0.7))]
    assert counts(rows, PSNR) and not counts(rows, LMD)
    rows[1]["face_found"] = 0.9
    assert counts(rows, LMD)
    del rows[1]["lmd"]
    assert not counts(rows, LMD)


def test_a_smaller_distance_is_the_better_one() -> None:
    rows = [row(c, r, 20, lmd=lmd, face_found=1.0) for c, r, lmd in (("ours-25-q9", 1, 0.05), ("ours-25-q8", 2, 0.03))]
    (found,) = families(rows, mean_rows(rows), LMD, "kbps")
    assert [LMD.value(p) for p in found.front] == [0.05, 0.03] and not found.others
    assert "0.050 to 0.030" in report(LMD, "kbps", [found])


def fake_mesh() -> Any:
    mesh = np.random.default_rng(1).uniform(60, 200, (478, 2)).astype(np.float32)

    def detect(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        moved = mesh.copy()
        moved[14, 1] += float(picture[:, :64].mean()) / 8
        return moved

    return detect


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 12), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([np.roll(base, 3 * k, 1) for k in range(COUNT)]).astype(np.uint8)
    points = np.random.default_rng(1).uniform(0.3, 0.7, (COUNT, len(POINTS), 2)).astype(np.float32)
    clip = Clip("synthetic", frames, np.zeros((COUNT, 1920), np.int16), points)
    monkeypatch.setattr(curve, "load_clip", lambda source, limit: clip)
    monkeypatch.setattr(face_tracks, "face_mesh", fake_mesh)


def test_json_tables_and_plot(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, plot = tmp_path / "c.json", tmp_path / "c.png"
    codecs = "ours-25-full-q4,ours-25-full-q14,ours-5-lean-q15,h264-64-floor,h264-floor,h264-zerolatency-crf42"
    arguments = ["--codecs", codecs, "--no-vmaf", "--reconstruction", "still-colour"]
    assert curve.main([*arguments, "--json", str(out), "--plot", str(plot)]) == 0
    written = json.loads(out.read_text())
    assert set(written["mean"]) == set(codecs.split(",")) and len(written["rows"]) == 6
    for measured in written["rows"]:
        assert {"kbps", "kbps_10s", "kbps_10min", "psnr", "ssim", "lmd", "face_found"} <= measured.keys()
    assert set(written["curves"]) == {"psnr", "ssim", "lmd"}
    of_psnr = written["curves"]["psnr"]["kbps_10min"]
    assert set(of_psnr) == {"ours, 25 fps", "ours, 5 fps", "H.264"} and "bd_rate_percent" not in of_psnr[REFERENCE]
    assert "bd_rate_percent" in of_psnr["H.264"] and of_psnr["ours, 5 fps"]["why_none"]
    assert written["settings"]["reference"] == REFERENCE and "kbps_10s" in written["settings"]["metrics"]
    text = capsys.readouterr().out
    assert text.count("BD-rate against ours, 25 fps") == 9 and "VMAF" not in text
    assert cv2.imread(str(plot)).shape[1] > 1200


def test_usual_codecs_are_many_points_of_ours_and_of_what_a_call_could_use() -> None:
    assert len(set(curve.USUAL)) == len(curve.USUAL)
    assert all(is_ours(codec) for codec in curve.OURS) and set(curve.USUAL) > set(CALL_ANCHORS)
    for family in {family_of(codec) for codec in curve.USUAL}:
        assert sum(family_of(codec) == family for codec in curve.USUAL) >= 8


def test_a_name_that_is_none_is_told(small: None) -> None:
    with pytest.raises(UserError, match="h264-32-floor"):
        curve.main(["--codecs", "h264-32-floor"])
