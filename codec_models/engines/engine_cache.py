"""Built TensorRT engines on disk: one file each, for one network, one GPU, one TensorRT and one driver.

File: 8 bytes `PINHENG1`, the header's length (4 bytes, little-endian), the header (JSON, UTF-8), the engine. The header
holds the key, the engine's length and SHA-256, and, where an engine was built but refused, why; then no engine follows.
An engine is code for the GPU: files that another user could have written are not read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"PINHENG1"
_LENGTH = struct.Struct("<I")
_MOST_HEADER, _MOST_ENGINE = 1 << 16, 2 << 30
_MOST_REASON = 400


@dataclass(frozen=True, slots=True)
class EngineKey:
    """What an engine was made of and for. network: name; typing: fp16 or fp32; content: SHA-256 of the network's files;
    gpu, capability: name and compute capability; batches: least, usual and most rows.
    """

    network: str
    typing: str
    content: str
    gpu: str
    capability: str
    tensorrt: str
    driver: str
    batches: str

    @property
    def name(self) -> str:
        """Of the file."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return f"{self.network}-{self.typing}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.engine"


@dataclass(frozen=True, slots=True)
class Refused:
    """An engine of this key was built and is not to be used; reason: one line."""

    reason: str


class EngineCache:
    """folder: None for that of the user. say: gets one line where a file cannot be used or written; nothing raises."""

    def __init__(self, folder: Path | None = None, say: Callable[[str], None] = print) -> None:
        self.folder = folder or user_folder()
        self._say = say

    def read(self, key: EngineKey) -> bytes | Refused | None:
        """The engine; None where there is none of this key that can be trusted, and it is to be built."""
        path = self.folder / key.name
        try:
            content = _read(path)
            if content is None:
                return None
            return _parsed(content, key)
        except (OSError, ValueError) as e:
            self._say(f"the engine at {path} is not used ({e}): it is built again")
            return None

    def write(self, key: EngineKey, engine: bytes) -> None:
        """Keep an engine that has been found right."""
        self._write(key, engine, {})

    def refuse(self, key: EngineKey, reason: str) -> None:
        """Keep in mind that the engine of this key is wrong: it would take minutes to find out again."""
        self._write(key, b"", {"refused": " ".join(reason.split())[:_MOST_REASON]})

    def drop(self, key: EngineKey) -> None:
        """Remove what there is of this key."""
        with contextlib.suppress(OSError):
            (self.folder / key.name).unlink()

    def _write(self, key: EngineKey, engine: bytes, more: dict[str, Any]) -> None:
        header = {
            "key": dataclasses.asdict(key),
            "length": len(engine),
            "sha256": hashlib.sha256(engine).hexdigest(),
            **more,
        }
        text = json.dumps(header, sort_keys=True).encode()
        part = None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                for piece in (MAGIC, _LENGTH.pack(len(text)), text, engine):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.folder / key.name)
        except OSError as e:
            if part is not None:
                with contextlib.suppress(OSError):
                    os.unlink(part)
            self._say(f"the engine cannot be kept in {self.folder} ({e.strerror}): it will be built again next time")


def user_folder() -> Path:
    """Where the user's engines are."""
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "pinhole-call" / "engines"


def _read(path: Path) -> bytes | None:
    """Raises OSError, ValueError with the reason why it cannot be trusted."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a file")
        if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o022):
            raise ValueError("others may have written it")
        if about.st_size > _MOST_ENGINE + _MOST_HEADER:
            raise ValueError(f"{about.st_size >> 20} MB are too many")
        return file.read()


def _parsed(content: bytes, key: EngineKey) -> bytes | Refused:
    """Raises ValueError with the reason."""
    start = len(MAGIC) + _LENGTH.size
    if content[: len(MAGIC)] != MAGIC or len(content) < start:
        raise ValueError("it is no engine file of this program")
    (length,) = _LENGTH.unpack(content[len(MAGIC) : start])
    if length > _MOST_HEADER or start + length > len(content):
        raise ValueError("its header is cut off")
    try:
        header = json.loads(content[start : start + length])
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise ValueError("its header is damaged") from None
    if not isinstance(header, dict) or header.get("key") != dataclasses.asdict(key):
        raise ValueError("it was built for something else")
    engine = content[start + length :]
    if len(engine) != header.get("length") or hashlib.sha256(engine).hexdigest() != header.get("sha256"):
        raise ValueError("it is damaged")
    refused = header.get("refused")
    if isinstance(refused, str):
        return Refused(refused[:_MOST_REASON])
    if not engine:
        raise ValueError("it is empty")
    return engine
