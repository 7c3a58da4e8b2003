"""The command line of the receiver."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from codec_models.errors import UserError
from receiver import main

pytestmark = pytest.mark.unit


def test_a_reconstruction_that_cannot_run_ends_it_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fail(name: str, say: object) -> None:
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
