from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import pytest

from codec_models.errors import UserError
from sender.camera import CameraSource
from sender.demo_source import DemoSource
from sender.main import ice_servers, open_source, parser
from sender.source import FileSource

pytestmark = pytest.mark.net

CALL = ["--signaling", "http://127.0.0.1:9", "--room", "r"]


def sender(*args: str) -> subprocess.CompletedProcess[str]:
    code = "from sender.main import command; command()"
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60)


def sound(path: Path) -> Path:
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 8000, 0, "NONE", ""))
        out.writeframes(bytes(16000))
    return path


def test_bad_input_is_one_line_and_exit_status_1(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"\0" * 5000)
    cases = {
        str(tmp_path / "absent.mp4"): "no file",
        str(sound(tmp_path / "sound.wav")): "no video",
        str(damaged): "cannot be read",
        "camera:97": "no camera number 97",
    }
    for source, text in cases.items():
        done = sender(*CALL, "--source", source)
        assert done.returncode == 1, done.stderr
        errors = done.stderr.strip().splitlines()
        assert len(errors) == 1 and errors[0].startswith("error: ") and text in errors[0]


def test_bad_options_are_refused_before_anything_starts(tmp_path: Path) -> None:
    demo = [*CALL, "--source", "demo"]
    done = sender(*demo, "--report", str(tmp_path / "absent" / "r.json"))
    assert done.returncode == 1 and "report" in done.stderr and "Traceback" not in done.stderr
    done = sender(*demo, "--trace", str(tmp_path / "absent" / "t"))
    assert done.returncode == 1 and "trace" in done.stderr and "Traceback" not in done.stderr
    done = sender(*demo, "--ice", "http://example")
    assert done.returncode == 1 and "ICE" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "bad",
    [["--fps", "24"], ["--audio-kbps", "nan"], ["--audio-kbps", "5"], ["--packet-ms", "60"], ["--seconds", "-1"],
     ["--seconds", "inf"], ["--redundancy", "4"], ["--crop", "face"], ["--direction", "c"]],
)  # fmt: skip
def test_options_out_of_range_are_usage_errors(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args([*CALL, "--source", "demo", *bad])
    assert caught.value.code == 2 and bad[0] in capsys.readouterr().err


def test_no_server_is_one_line() -> None:
    done = sender(*CALL, "--source", "demo", "--crop", "centre")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("error: ")


def test_sources_by_name(tmp_path: Path) -> None:
    demo = open_source("demo", False, 3.0)
    assert isinstance(demo, DemoSource) and demo.seconds == 3.0
    with pytest.raises(UserError):
        open_source("camera", False, None)
    with pytest.raises(UserError):
        open_source("camera:x", False, None)  # a file that is not there
    assert FileSource.live is False and CameraSource.live is True


def test_ice_servers() -> None:
    stun, turn = ice_servers(["stun:h:3478", "turn:h:3478?transport=tcp"], "u", "p")
    assert stun.urls == "stun:h:3478" and stun.username is None
    assert turn.username == "u" and turn.credential == "p"


def test_every_option_of_the_documentation() -> None:
    args = parser().parse_args(
        [*CALL, "--source", "x.mp4", "--fps", "5", "--audio-kbps", "6", "--packet-ms", "80", "--no-hints", "--loop",
         "--report", "r", "--token", "t", "--direction", "b", "--seconds", "9", "--profile", "lean", "--quality", "3",
         "--crop", "full", "--ice", "stun:h", "--redundancy", "0"]
    )  # fmt: skip
    assert args.fps == 5 and args.audio_kbps == 6 and args.packet_ms == 80 and args.no_hints and args.loop
    assert args.redundancy == 0 and args.quality == 3 and args.direction == "b"
