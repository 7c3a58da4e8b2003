"""The line from our face layer's rate to x264's, and the page's copy of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import signaling
from benchmarks import h264_estimate
from benchmarks.anchors import h264
from benchmarks.clips import Clip
from benchmarks.h264_estimate import CRFS, Line, after_first, best, fits, fitted, for_the_page, left_out_errors, measure
from codec_models.errors import UserError

pytestmark = pytest.mark.unit

SCRIPT = Path(signaling.__file__).parent / "static" / "view" / "h264_estimate.js"
RNG = np.random.default_rng(3)
X = np.linspace(0.5, 4.0, 30)


def test_a_line_is_found_again_among_outliers() -> None:
    for space, y in (("linear", 4 + 3 * X), ("log", 20 * X**0.6)):
        noisy = y * RNG.normal(1, 0.02, len(X))
        noisy[[4, 15, 27]] *= (1.7, 0.5, 1.9)
        line = fitted(X, noisy, space)  # type: ignore[arg-type]
        for x, expected in zip(X, y, strict=True):
            assert line.at(float(x)) == pytest.approx(expected, rel=0.05)
        straight = np.polyfit(X, noisy, 1)
        assert np.abs([line.at(float(x)) for x in X] - y).mean() < 0.5 * np.abs(np.polyval(straight, X) - y).mean()


def test_exact_points_give_the_exact_line() -> None:
    line = fitted(X, 4 + 3 * X, "linear")
    assert (line.a, line.b) == pytest.approx((4, 3)) and (line.low, line.high) == (0.5, 4.0)
    line = fitted(X, 20 * X**0.6, "log")
    assert (np.exp(line.a), line.b) == pytest.approx((20, 0.6))


def test_the_space_with_the_smaller_error_is_taken() -> None:
    for space, y in (("linear", 8 + 3 * X), ("log", 5 * X**2)):
        line, errors = best(X, y)
        assert line.space == space and np.median(errors[space]) < 0.02  # type: ignore[index]
        assert np.median(errors[line.space]) == min(np.median(e) for e in errors.values())


def test_a_left_out_clip_does_not_help_its_own_estimate() -> None:
    y = 4 + 3 * X
    y[10] *= 2
    errors = left_out_errors(X, y, "linear")
    assert errors[10] == pytest.approx(0.5, abs=0.01) and np.median(errors) < 0.01


def test_beyond_the_clips_a_line_claims_less() -> None:
    for line in (Line("linear", 4, 3, 0.5, 4), Line("log", 3, 0.6, 0.5, 4)):
        assert line.at(8) == line.at(4) and line.at(0.25) == pytest.approx(line.at(0.5) / 2) and line.at(0) == 0


def test_the_first_picture_is_left_out() -> None:
    assert after_first([10000, 125, 125]) == pytest.approx(25.0)


def test_rates_of_a_clip() -> None:
    base = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    frames = np.stack([np.roll(base, 2 * k, 1) for k in range(6)])
    clip = Clip("a", frames, np.zeros((6, 1920), np.int16), np.full((6, 110, 2), np.nan, np.float32))
    row = measure(clip, {crf: h264.live(crf) for crf in CRFS})
    assert row["frames"] == 6 and 0 < row["face_kbps"] < row["crf51_kbps"] < row["crf36_kbps"]


def test_too_few_clips_and_missing_ones_are_told() -> None:
    with pytest.raises(UserError, match="needs 4 clips"):
        h264_estimate.main(["demo"])
    with pytest.raises(UserError, match=r"nowhere\.mp4"):
        h264_estimate.main(["demo", "demo", "demo", "nowhere.mp4"])
    with pytest.raises(UserError, match="--frames"):
        h264_estimate.main(["demo", "--frames", "1"])


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on this machine")
def test_the_page_computes_the_same(tmp_path: Path) -> None:
    rates = [0.0, 0.1, 0.4949, 0.7, 1.3, 2.0, 3.7475, 9.0]
    module = tmp_path / "estimate.mjs"
    module.write_text(SCRIPT.read_text())
    ask = f"""import {{ H264, estimate }} from {json.dumps(module.as_uri())};
        const odd = [NaN, -1, undefined, Infinity].map(estimate);
        console.log(JSON.stringify([H264, {json.dumps(rates)}.map(estimate), odd]));"""
    run = subprocess.run(
        ["node", "--input-type=module", "-e", ask], capture_output=True, text=True, check=True, timeout=30
    )
    constants, estimates, odd = json.loads(run.stdout)
    assert [c["crf"] for c in constants] == list(CRFS) and odd == [[]] * 4
    for rate, told in zip(rates, estimates, strict=True):
        for constant, one in zip(constants, told, strict=True):
            line = Line(*(constant[key] for key in ("space", "a", "b", "low", "high")))
            assert one["kbps"] == pytest.approx(line.at(rate), rel=1e-12) and one["crf"] == constant["crf"]
            assert one["name"] == constant["name"]
    assert estimates[4][0]["kbps"] < estimates[4][1]["kbps"]


def test_what_is_printed_fits_the_page() -> None:
    rows = [{"face_kbps": x, "crf51_kbps": 4 + 3 * x, "crf36_kbps": 20 * x**0.6} for x in X]
    text = for_the_page(fits(rows))
    assert '{ crf: 51, name: "H.264, its floor", space: "linear", a: 4, b: 3, low: 0.5, high: 4 },' in text
    assert '{ crf: 36, name: "H.264, CRF 36", space: "log", a: 2.9957, b: 0.6, low: 0.5, high: 4 },' in text
