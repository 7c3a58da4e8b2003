"""The command line of the receiver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks.processes import Processes, free_port
from codec_models.bitstream.face import FaceTick
from codec_models.engines.batch import Batch, BatchConfig
from codec_models.engines.shared_device import share
from codec_models.errors import UserError
from codec_models.reconstruction import LOOKAHEAD
from receiver import drawings, main

pytestmark = pytest.mark.unit


def test_a_reconstruction_that_cannot_run_ends_it_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(name: str, say: object, **options: object) -> None:
        asked.append(name)
        raise UserError("there are no weights")

    monkeypatch.setattr(drawings, "reconstructor", fail)
    video = tmp_path / "a.mp4"
    arguments = ["--signaling", "http://127.0.0.1:9", "--room", "r", "--show", "none", "--output", str(video)]
    for more, name in (([], "auto"), (["--reconstruction", "network"], "network")):
        with pytest.raises(UserError, match="no weights"):
            asyncio.run(main.receive(main.parser().parse_args([*arguments, *more])))
        assert asked.pop() == name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ([], {"lookahead": LOOKAHEAD, "teeth": True, "backend": "auto", "precision": None}),
        (
            ["--lookahead", "1", "--no-teeth", "--backend", "openvino", "--precision", "int8"],
            {"lookahead": 1, "teeth": False, "backend": "openvino", "precision": "int8"},
        ),
    ],
)
def test_what_was_asked_for_reaches_the_reconstruction(
    monkeypatch: pytest.MonkeyPatch, more: list[str], wanted: dict[str, object]
) -> None:
    asked: list[dict[str, object]] = []

    def note(name: str, say: object, **options: object) -> None:
        asked.append(options)
        raise UserError("enough")

    monkeypatch.setattr(drawings, "reconstructor", note)
    arguments = ["--signaling", "http://127.0.0.1:9", "--room", "r", "--show", "none", *more]
    with pytest.raises(UserError, match="enough"):
        asyncio.run(main.receive(main.parser().parse_args(arguments)))
    assert asked == [wanted]


def test_a_look_ahead_of_two_frames_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.parser().parse_args(["--signaling", "http://h", "--room", "r", "--lookahead", "2"])
    assert "--lookahead" in capsys.readouterr().err


def arguments(*more: str) -> list[str]:
    return ["--signaling", "http://127.0.0.1:9", "--show", "none", "--reconstruction", "still-colour", *more]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--room", "a", "--room", "a"], "room a is named twice"),
        (["--room", "a", "--room", "b", "--token", "x"], "1 tokens for 2 rooms"),
        (["--room", "a", "--room", "b", "--output", "o.mp4"], "several rooms cannot share --output o.mp4"),
        (["--room", "a", "--room", "b", "--report", "o.json"], "put {room} into the name"),
        (["--room", "a", "--room", "b", "--show", "window"], "a window shows one call"),
        (["--room", "../a", "--report", "{room}.json"], "no part of a file name"),
    ],
)
def test_options_that_do_not_fit_the_rooms_get_one_line(more: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        asyncio.run(main.receive(main.parser().parse_args(arguments(*more))))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_calls_on_one_device_and_the_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="needs openvino: pip install -e '.[receiver]'")
    said: list[str] = []
    args = main.parser().parse_args(["--signaling", "http://127.0.0.1:9", "--room", "a", "--room", "b"])

    def roomy(calls: int, *options: object) -> Batch:
        # a deadline that any machine holds: how full a device may be is tested with its own rule
        return share(calls, *options, config=BatchConfig(deadline=60.0))  # type: ignore[arg-type]

    monkeypatch.setattr(drawings, "share", roomy)
    monkeypatch.setattr(drawings, "cores", lambda: 1)
    made = drawings.Drawings(args, 2, said.append)
    try:
        calls = [made.next(), made.next()]
        grey = np.full((8, 8, 3), 90, np.uint8)
        for call in calls:
            picture = call.tick(FaceTick(grey, None), None)
            assert picture.shape == (256, 256, 3) and abs(int(picture.mean()) - 90) < 3
        assert len(said) == 1 and said[0].startswith("drawing with openvino")
        with pytest.raises(UserError, match="no room on the device for more than 2 calls"):
            made.next()
    finally:
        made.close()


def test_calls_with_a_core_each_draw_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "cores", lambda: 2)
    monkeypatch.setattr(drawings, "has_gpu", lambda: False)
    monkeypatch.setattr(drawings, "share", lambda *options: pytest.fail("not on one core"))
    args = main.parser().parse_args(["--signaling", "http://127.0.0.1:9", "--room", "a", "--two-way"])
    made = drawings.Drawings(args, 2, lambda line: None)
    first, second = made.next(), made.next()
    assert first is not second and first.backend == second.backend
    made.close()


@contextmanager
def served(folder: Path) -> Iterator[tuple[Processes, str]]:
    """A signaling server of its own, and its address."""
    port = free_port()
    with Processes(None, {"XDG_STATE_HOME": str(folder)}) as processes:
        processes.start("signaling", ["-m", "signaling.main", "--host", "127.0.0.1", "--port", str(port)])
        processes.wait_for_port(port)
        yield processes, f"http://127.0.0.1:{port}"


@pytest.mark.net
@pytest.mark.slow
def test_two_calls_in_one_process(tmp_path: Path) -> None:
    with served(tmp_path) as (processes, url):
        common = ["--signaling", url, "--show", "none", "--reconstruction", "still-colour", "--seconds", "3"]
        rooms = ["--room", "left", "--room", "right", "--report", str(tmp_path / "{room}.json")]
        processes.start("receiver", ["-m", "receiver.main", *common, *rooms])
        for room in ("left", "right"):
            sender = ["-m", "sender.main", "--signaling", url, "--room", room, "--source", "demo", "--no-hints"]
            processes.start(f"sender {room}", sender)
        processes.wait("receiver", 60)
    for room in ("left", "right"):
        report = json.loads((tmp_path / f"{room}.json").read_text())
        assert report["frames_shown"] > 10 and report["backend"] == "still-colour"


@pytest.mark.net
@pytest.mark.slow
def test_a_call_that_fails_leaves_the_other_alone(tmp_path: Path) -> None:
    with served(tmp_path) as (processes, url):
        common = ["--signaling", url, "--show", "none", "--reconstruction", "still-colour", "--seconds", "2"]
        # nobody sends in the second room
        rooms = ["--room", "left", "--room", "right", "--wait", "8", "--report", str(tmp_path / "{room}.json")]
        receiver = processes.start("receiver", ["-m", "receiver.main", *common, *rooms])
        sender = ["-m", "sender.main", "--signaling", url, "--room", "left", "--source", "demo", "--no-hints"]
        processes.start("sender", sender)
        with pytest.raises(UserError):
            processes.wait("receiver", 60)
    assert json.loads((tmp_path / "left.json").read_text())["frames_shown"] > 5
    assert not (tmp_path / "right.json").exists() and receiver.status == 1
    assert any("receiver right: warning: no sender came to room right" in line for line in receiver.lines)
