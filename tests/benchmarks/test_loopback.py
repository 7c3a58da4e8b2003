"""A call's processes: how they are started, how their reports become one; fakes stand in for the three."""

from __future__ import annotations

import io
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from benchmarks import call, demo, loopback
from benchmarks.loopback import CallConfig, command_lines, merge, printed, row_of, run_call
from codec_models.errors import UserError

pytestmark = pytest.mark.unit

REPORTS = {"sender": Path("s"), "receiver": Path("r")}
SIGNALING = """
    import socket, sys, time
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
"""
RECEIVER = """
    import json, sys, time
    print("page http://127.0.0.1:1234/", flush=True)
    print("25.0 fps  2.2 kb/s face", flush=True)
    try:
        time.sleep(float(sys.argv[2]))
    except KeyboardInterrupt:
        pass
    wire = {"sent": 1.0, "received": 20.0}
    json.dump({"fps_shown": 25.0, "face_kbps": 2.0, "wire_kbps": wire}, open(sys.argv[1], "w"))
"""
SENDER = """
    import json, sys, time
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        json.dump({"ticks_sent": 500, "face_kbps": 2.5, "hint_kbps": 0.3}, open(sys.argv[1], "w"))
"""


RECORDING_RECEIVER = """
    import json, sys
    from fractions import Fraction
    import av, numpy as np
    with av.open(sys.argv[3], "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "1"})
        video.width = video.height = 64
        for k in range(0, 100, 5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 2 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    json.dump({"fps_shown": 5.0, "lookahead": 1}, open(sys.argv[1], "w"))
"""


def fakes(seconds: float, sender: str = SENDER, receiver: str = RECEIVER) -> Any:
    def lines(config: CallConfig, url: str, port: int, reports: dict[str, Path]) -> dict[str, list[str]]:
        return {
            "signaling": ["-c", textwrap.dedent(SIGNALING), str(port)],
            "receiver": ["-c", textwrap.dedent(receiver), str(reports["receiver"]), str(seconds), str(config.output)],
            "sender": ["-c", textwrap.dedent(sender), str(reports["sender"])],
        }

    return lines


def test_the_arguments_of_the_three_processes() -> None:
    config = CallConfig("a.mp4", 8, 5, 6, 80, hints=False, loss=0.1, profile="lean", output=Path("o.mp4"))
    lines = command_lines(config, "http://h:1", 1, {"sender": Path("s.json"), "receiver": Path("r.json")})
    sender, receiver = " ".join(lines["sender"]), " ".join(lines["receiver"])
    assert sender.startswith("-m sender.main --signaling http://h:1 --room ")
    for part in ("--source a.mp4", "--fps 5", "--audio-kbps 6", "--packet-ms 80", "--no-hints", "--loop"):
        assert part in sender
    assert "--profile lean" in sender and "--report s.json" in sender
    assert "--seconds 8" in receiver and "--output o.mp4" in receiver and "--show none" in receiver
    assert "--lookahead" not in receiver and "--no-teeth" not in receiver
    ahead = command_lines(CallConfig("demo", fps=5, lookahead=1, teeth=False), "http://h:1", 1, REPORTS)["receiver"]
    assert "--lookahead 1 --no-teeth" in " ".join(ahead)
    built_in = command_lines(CallConfig("demo"), "http://h:1", 1, REPORTS)
    assert "--loop" not in built_in["sender"]
    assert config.codec == "ours-5-nohints" and CallConfig("demo").codec == "ours-25"


def test_the_receivers_figures_win_and_nothing_is_lost() -> None:
    merged = merge({"a": 1, "b": 2, "hint_kbps": 0.3, "role": "sender", "settings": {}}, {"b": 3, "c": None})
    assert merged == {"a": 1, "b": 3, "hint_kbps": 0.3}
    row = row_of({"face_kbps": 2.0, "face_bpp": 0.001, "latency_ms": {"p95": 90.0}, "list": [1]}, "ours-25", "x")
    rates = {"kbps": 2.0, "face_kbps": 2.0, "bpp": 0.001, "face_bpp": 0.001}
    assert row == {"codec": "ours-25", "clip": "x", "latency_ms_p95": 90.0} | rates
    assert any(line["value"] == "p95 90" for line in printed({"latency_ms": {"p95": 90.0}}))


def test_a_call_runs_to_its_end_and_merges_both_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "command_lines", fakes(0.3))
    result = run_call(CallConfig("demo", 0.3))
    assert not result.interrupted
    assert result.report["ticks_sent"] == 500 and result.report["face_kbps"] == 2.0
    assert result.sender["face_kbps"] == 2.5


def test_a_sender_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "command_lines", fakes(30, "import sys; sys.exit('error: no camera 0')"))
    with pytest.raises(UserError, match=r"^sender: no camera 0$"):
        run_call(CallConfig("camera", 30))


def test_call_writes_the_benchmarks_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loopback, "command_lines", fakes(0.2))
    target = tmp_path / "call.json"
    assert call.main(["demo", "--seconds", "1", "--loss", "0.1", "--json", str(target)]) == 0
    written = json.loads(target.read_text())
    assert written["rows"][0]["codec"] == "ours-25" and written["rows"][0]["wire_kbps_received"] == 20.0
    assert written["mean"]["ours-25"]["kbps"] == 2.0
    assert written["settings"]["loss"] == 0.1 and len(written["settings"]["processes"]) == 3
    assert written["hint_kbps"] == 0.3
    assert str(tmp_path) not in " ".join(written["settings"]["processes"])
    assert "fps_shown" in capsys.readouterr().out


def test_a_call_at_5_fps_tells_the_beat_beside_the_clips_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loopback, "command_lines", fakes(0.1, receiver=RECORDING_RECEIVER))
    target = tmp_path / "call.json"
    assert call.main(["demo", "--seconds", "1", "--fps", "5", "--lookahead", "1", "--json", str(target)]) == 0
    written = json.loads(target.read_text())
    beat = written["beat_5hz"]
    assert beat["shown"] > 30 and beat["shown"] > beat["clip"] + 20  # a picture in every fifth tick only
    assert written["rows"][0]["beat_5hz_shown"] == pytest.approx(beat["shown"], abs=1e-4)
    assert written["settings"]["lookahead"] == 1
    assert "TMP" in " ".join(written["settings"]["processes"])
    assert "beat_5hz" in capsys.readouterr().out


def test_call_refuses_a_missing_file_before_it_starts_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "run_call", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(UserError, match=r"no file at nowhere\.mp4"):
        call.main(["nowhere.mp4"])
    for bad in (["demo", "--loss", "1"], ["demo", "--seconds", "0"]):
        with pytest.raises(SystemExit) as exit_:
            call.main(bad)
        assert exit_.value.code == 2


def test_a_browser_that_sends_needs_no_sender(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = CallConfig("browser", seconds=0.3, show="join", compare=tmp_path)
    lines = command_lines(config, "http://127.0.0.1:5", 5, REPORTS)
    assert set(lines) == {"signaling", "receiver"} and "join" in lines["receiver"]
    assert lines["signaling"][-2:] == ["--compare", str(tmp_path)]
    made = fakes(0.3)
    monkeypatch.setattr(
        loopback, "command_lines", lambda *args: {k: v for k, v in made(*args).items() if k != "sender"}
    )
    result = run_call(config)
    assert result.report["fps_shown"] == 25.0 and not result.sender
    with pytest.raises(UserError, match="leave --show window out"):
        demo.main(["--source", "browser", "--show", "window", "--out", str(tmp_path)])


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_demos_terminal_keeps_the_live_line_last() -> None:
    out = FakeTerminal()
    show = demo.Terminal(out)
    show("receiver", "receiver: a browser watches at http://127.0.0.1:9/#room=x&token=abc")
    show("receiver", "receiver: page http://127.0.0.1:9/")
    show("receiver", "receiver: 25.0 fps  face 2.0 kb/s")
    show("sender", "sender: 25.0 fps  face 2.0 kb/s  voice 11 kb/s")
    show("sender", "no face in the picture")
    show("receiver", "receiver: room x is open; a sender joins with --token abc")
    show.close()
    assert show.address == "http://127.0.0.1:9/"
    shown = out.getvalue()
    assert shown.endswith("receiver: 25.0 fps  face 2.0 kb/s\n")
    assert "sender: no face in the picture" in shown and "voice" not in shown and "abc" not in shown


def test_demo_leaves_figures_and_names_the_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loopback, "command_lines", fakes(0.3))
    assert demo.main(["--seconds", "0.3", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "25.0 fps  2.2 kb/s face" in told
    assert "http://127.0.0.1:1234/" in told.splitlines()[-1]
    assert json.loads((tmp_path / "out" / "demo.json").read_text())["fps_shown"] == 25.0


def test_demo_ends_well_after_an_interrupt_when_something_was_measured(tmp_path: Path) -> None:
    """SIGTERM takes the way of Ctrl-C; a real process is needed for real signals."""
    import signal
    import subprocess
    import time

    here = Path(__file__).resolve()
    script = f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("fakes", {str(here)!r})
        module = importlib.util.module_from_spec(spec)
        sys.modules["fakes"] = module
        spec.loader.exec_module(module)
        from benchmarks import demo, loopback
        loopback.command_lines = module.fakes(60)
        sys.exit(demo.main(["--out", {str(tmp_path)!r}]))
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for line in run.stdout:
        if "25.0 fps" in line:
            break
    time.sleep(0.5)  # the sender starts after the receiver
    run.send_signal(signal.SIGTERM)
    out, _ = run.communicate(timeout=20)
    assert run.returncode == 0, out
    assert (tmp_path / "demo.json").is_file()
