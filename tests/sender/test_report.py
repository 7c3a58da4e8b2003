from __future__ import annotations

import json
from pathlib import Path

import pytest

from codec_models.errors import UserError
from sender.report import LiveLine, SenderReport, check_report, write_report
from signaling.wire import WireCounter

pytestmark = pytest.mark.unit


def sent(ticks: int) -> SenderReport:
    report = SenderReport()
    for k in range(ticks):
        report.tick(100 + 0.04 * k, b"x" * 10, b"y" * 60, True)
    return report


def test_figures() -> None:
    wire = WireCounter(sent_bytes=25000, received_bytes=1250)
    wire.sent_parts.update(rtp=20_000, dtls=5000)
    summary = sent(250).summary(wire, {"fps": 25})
    assert summary["seconds"] == pytest.approx(10.0)
    assert summary["ticks_sent"] == summary["frames_sent"] == 250
    assert summary["face_bits_per_frame"] == 80
    assert summary["face_kbps"] == pytest.approx(2.0)
    assert summary["face_bpp"] == pytest.approx(2000 / (25 * 65536), abs=1e-7)
    assert summary["audio_kbps"] == pytest.approx(12.0)
    assert summary["wire_kbps"] == {"sent": 20.0, "received": 1.0}
    assert summary["wire_parts_kbps"] == {"rtp": 16.0, "dtls": 4.0}
    assert summary["settings"] == {"fps": 25} and summary["failure"] is None


def test_nothing_sent_is_no_division_by_zero() -> None:
    summary = SenderReport().summary(WireCounter(), {})
    assert summary["seconds"] == 0 and summary["face_kbps"] == 0 and summary["face_bits_per_frame"] == 0


def test_the_live_line_shows_rates_since_the_last() -> None:
    report, wire, line = sent(25), WireCounter(), LiveLine()
    line.start(101.0, report, wire)
    for k in range(25):
        report.tick(101 + 0.04 * k, b"x" * 25, b"y" * 60, True)
    wire.sent_bytes = 3125
    text = line.text(102.0, report, wire)
    assert "25.0 fps" in text and "face  5.0 kb/s" in text and "voice 12.0 kb/s" in text and "wire  25.0 kb/s" in text
    assert " 0.0 fps" in line.text(103.0, report, wire)


def test_reports_are_written_whole_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    check_report(path)
    assert not path.exists()
    write_report(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1} and list(tmp_path.iterdir()) == [path]
    for bad in (tmp_path, tmp_path / "absent" / "r.json"):
        with pytest.raises(UserError):
            check_report(bad)
