"""The three real processes on loopback, on the built-in source."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from benchmarks import call

pytestmark = [pytest.mark.net, pytest.mark.timeout(90)]

FIELDS = """seconds ticks_sent ticks_received ticks_lost ticks_concealed frames_shown fps_shown face_bits_per_frame
    face_kbps face_bpp identity_bytes audio_kbps wire_kbps latency_ms av_offset_ms stalls_over_120ms backend device"""


def test_a_call_is_measured_and_recorded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    figures, recording = tmp_path / "call.json", tmp_path / "call.mp4"
    arguments = ["demo", "--seconds", "4", "--loss", "0.1", "--json", str(figures), "--output", str(recording)]
    assert call.main(arguments) == 0, capfd.readouterr().err
    report = json.loads(figures.read_text())
    assert set(FIELDS.split()) <= report.keys()
    assert report["frames_shown"] > 50 and report["ticks_received"] > 50
    assert report["ticks_lost"] > 0  # every tenth packet was dropped on purpose
    assert 5 < report["audio_kbps"] < 20
    with av.open(str(recording)) as container:
        assert sum(1 for _ in container.decode(video=0)) > 50
    with av.open(str(recording)) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 2 * 48_000


def test_a_slow_call_with_look_ahead_says_what_it_waited_for_and_how_it_moved(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "call.json"
    arguments = ["demo", "--seconds", "4", "--fps", "5", "--lookahead", "1", "--no-teeth", "--json", str(figures)]
    assert call.main(arguments) == 0, capfd.readouterr().err
    report = json.loads(figures.read_text())
    assert (report["lookahead"], report["teeth"]) == (1, False)
    # Without the network the still takes on the colours as they come, and nothing is waited for.
    assert report["lookahead_ms"] == (0 if report["backend"] == "still-colour" else 200)
    assert report["frames_shown"] > 40
    assert all(isinstance(report["beat_5hz"][which], float) for which in ("shown", "clip"))
    assert "--lookahead 1" in " ".join(report["settings"]["processes"])


def test_ctrl_c_leaves_the_figures_and_the_recording(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.demo", "--show", "none", "--out", str(tmp_path)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert run.stdout is not None
    lines = []
    for line in run.stdout:
        lines.append(line)
        if "kb/s" in line and "latency" in line:
            break
    os.kill(run.pid, signal.SIGINT)
    out, _ = run.communicate(timeout=20)
    assert run.returncode == 0, "".join(lines) + out
    assert json.loads((tmp_path / "demo.json").read_text())["frames_shown"] > 0
    with av.open(str(tmp_path / "demo.mp4")) as container:
        assert container.streams.video and container.streams.audio
