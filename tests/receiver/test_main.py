"""The command line of the receiver."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from codec_models.errors import UserError
from codec_models.reconstruction import LOOKAHEAD
from receiver import main

pytestmark = pytest.mark.unit


def test_a_reconstruction_that_cannot_run_ends_it_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(name: str, say: object, **options: object) -> None:
        asked.append(name)
        raise UserError("there are no weights")

    monkeypatch.setattr(main, "reconstructor", fail)
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

    monkeypatch.setattr(main, "reconstructor", note)
    arguments = ["--signaling", "http://127.0.0.1:9", "--room", "r", "--show", "none", *more]
    with pytest.raises(UserError, match="enough"):
        asyncio.run(main.receive(main.parser().parse_args(arguments)))
    assert asked == [wanted]


def test_a_look_ahead_of_two_frames_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.parser().parse_args(["--signaling", "http://h", "--room", "r", "--lookahead", "2"])
    assert "--lookahead" in capsys.readouterr().err
