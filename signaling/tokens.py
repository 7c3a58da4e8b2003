"""The tokens of the rooms that this user opened, so that a second program of the user can join without typing one."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .rooms import PLACES

MAX_ROOMS = 64
MAX_FILE_BYTES = 262_144


def state_file() -> Path:
    """rooms.json in the user's state folder (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(home) / "pinhole" / "rooms.json"


def load_tokens(url: str, room: str, path: Path | None = None) -> dict[str, str]:
    """Tokens of a room by "direction/role"; empty when none are kept or the file cannot be read."""
    return _read(path or state_file()).get(_key(url, room), {})


def save_tokens(url: str, room: str, tokens: dict[str, str], path: Path | None = None) -> None:
    """Keep the tokens of a room, the newest 64 rooms in all, readable by this user only. Raises OSError."""
    path = path or state_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path):
        rooms = _read(path)
        rooms.pop(_key(url, room), None)
        rooms[_key(url, room)] = tokens
        kept = dict(list(rooms.items())[-MAX_ROOMS:])
        write_private(path, json.dumps(kept, indent=1))


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600 in one step: a reader sees the old text or the new. Raises OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mode 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def parse_tokens(data: object) -> dict[str, str] | None:
    """The tokens in a parsed JSON value, or None when that is something else."""
    if not isinstance(data, dict) or not set(data) <= set(PLACES):
        return None
    return data if all(isinstance(t, str) and 0 < len(t) <= 256 for t in data.values()) else None


def _key(url: str, room: str) -> str:
    return f"{url.rstrip('/').replace('//localhost', '//127.0.0.1', 1)} {room}"


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            data = json.loads(file.read(MAX_FILE_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    parsed = {key: parse_tokens(value) for key, value in data.items()}
    return {key: tokens for key, tokens in parsed.items() if tokens}


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: two programs that save in the same instant may lose one room
        yield
        return
    with open(path.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
