from __future__ import annotations

import json
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from signaling.rooms import PLACES, new_tokens
from signaling.tokens import MAX_ROOMS, load_tokens, parse_tokens, save_tokens, state_file

pytestmark = pytest.mark.unit
URL = "http://127.0.0.1:8080"


def test_kept_by_url_and_room() -> None:
    tokens, other = new_tokens(), new_tokens()
    save_tokens(URL, "one", tokens)
    save_tokens(URL, "two", other)
    assert load_tokens(URL + "/", "one") == tokens
    assert load_tokens(URL.replace("127.0.0.1", "localhost"), "one") == tokens
    assert load_tokens(URL, "two") == other
    assert load_tokens("http://elsewhere", "one") == {}


@pytest.mark.skipif(sys.platform == "win32", reason="file modes")
def test_only_the_user_reads_it(state_home: Path) -> None:
    save_tokens(URL, "one", new_tokens())
    assert state_file() == state_home / "pinhole" / "rooms.json"
    assert stat.S_IMODE(os.stat(state_file()).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(state_file().parent).st_mode) == 0o700


@pytest.mark.parametrize(
    "text", ["", "not json", "[1]", '{"x": 3}', '{"x y": {"a/sender": 5}}', "[" * 5000, '{"x": {}}']
)
def test_broken_file_counts_as_empty_and_is_replaced(text: str) -> None:
    state_file().parent.mkdir(parents=True)
    state_file().write_text(text)
    assert load_tokens(URL, "one") == {}
    tokens = new_tokens()
    save_tokens(URL, "one", tokens)
    assert load_tokens(URL, "one") == tokens


def test_oldest_rooms_go_first() -> None:
    for i in range(MAX_ROOMS + 5):
        save_tokens(URL, f"room{i}", {"a/sender": str(i)})
    assert len(json.loads(state_file().read_text())) == MAX_ROOMS
    assert load_tokens(URL, "room4") == {}
    assert load_tokens(URL, f"room{MAX_ROOMS + 4}") == {"a/sender": str(MAX_ROOMS + 4)}


def test_two_programs_that_save_at_once_lose_nothing() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: save_tokens(URL, f"room{i}", {"a/sender": str(i)}), range(32)))
    assert all(load_tokens(URL, f"room{i}") == {"a/sender": str(i)} for i in range(32))


def test_parse() -> None:
    tokens = new_tokens()
    assert parse_tokens(tokens) == tokens
    assert set(tokens) == set(PLACES)
    assert len(set(tokens.values())) == len(PLACES)
    assert all(len(t) >= 22 for t in tokens.values())
    for bad in (None, [], {"c/sender": "x"}, {"a/sender": ""}, {"a/sender": "x" * 300}, {"a/sender": 3}):
        assert parse_tokens(bad) is None
