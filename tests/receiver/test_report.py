from __future__ import annotations

import json
from pathlib import Path

import pytest

from codec_models.errors import UserError
from receiver.report import Histogram, Shown, Traffic, check_writable, summary, write_report
from signaling.wire import WireCounter

pytestmark = pytest.mark.unit


def test_percentiles() -> None:
    histogram = Histogram()
    assert histogram.percentile(50) is None
    for k in range(1000):
        histogram.add(k / 10)
    for percent in (1, 50, 95, 99, 100):
        assert histogram.percentile(percent) == pytest.approx(percent, abs=0.6)
    for _ in range(10_000):
        histogram.add(-30)
        histogram.add(1e12)
        histogram.add(-1e12)
    assert histogram.percentile(10, magnitude=True) == pytest.approx(30, abs=1)
    assert histogram.count == 31_000


def test_shown_counts_rate_stalls_latency_and_offset() -> None:
    shown = Shown()
    for k in range(100):
        at = k * 0.04 + (1.0 if k >= 50 else 0)
        shown.add(at, at - 0.07, at - 0.01)
    assert shown.stalls == 1
    assert shown.fps == pytest.approx(99 / (99 * 0.04 + 1))
    assert shown.latency.percentile(95) == pytest.approx(70, abs=1)
    assert shown.av_offset.percentile(95, magnitude=True) == pytest.approx(10, abs=1)
    shown.add(50.0, None, None, restart=True)
    assert shown.stalls == 1 and shown.latency.count == 100


def test_summary_has_the_fields_of_the_contract() -> None:
    traffic = Traffic(face_bytes=2750, frames=250, opus_bytes=15_000, identity_bytes=5000, identities=1)
    ticks = {"ticks_received": 250, "ticks_lost": 0, "ticks_concealed": 0}
    engine = {"backend": "still-colour", "device": "cpu"}
    wire = WireCounter(1000, 10, 25_000, 250)
    wire.received_parts.update(stun=500, rtp=24_500)
    report = summary(10.0, ticks, traffic, Shown(), wire, engine)
    assert report["face_kbps"] == pytest.approx(2.2)
    assert report["face_bpp"] == pytest.approx(0.00134, abs=1e-5)
    assert report["face_bits_per_frame"] == 88
    assert report["audio_kbps"] == 12
    assert report["wire_kbps"] == {"sent": 0.8, "received": 20}
    assert list(report["wire_parts_kbps"].items()) == [("rtp", 19.6), ("stun", 0.4)]
    assert (report["ticks_received"], report["device"]) == (250, "cpu")
    assert set(report["latency_ms"]) == {"p50", "p95", "p99"} and set(report["av_offset_ms"]) == {"p50", "p95"}
    names = ["seconds", "frames_shown", "fps_shown", "identity_bytes", "stalls_over_120ms", "backend"]
    assert all(name in report for name in names)


def test_report_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, {"seconds": 1.5})
    assert json.loads(path.read_text()) == {"seconds": 1.5}
    assert list(tmp_path.iterdir()) == [path]


def test_unwritable_paths_are_told(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()
    for path in (tmp_path / "missing" / "x.json", tmp_path):
        with pytest.raises(UserError, match="cannot write"):
            check_writable(path)
        with pytest.raises(UserError, match="cannot write"):
            write_report(path, {})
