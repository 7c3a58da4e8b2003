"""A file of JSON lines that is written beside a call without holding it up: both ends trace their ticks with it."""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import UserError


class TraceFile:
    """`write` only queues; a thread of its own turns what waits into lines every half second.

    Raises UserError at once where the file cannot be written. A file that is there already is replaced when the first
    line comes. After an error (a full disk) `warn` gets one line, from the thread, and the rest is dropped.
    """

    _EVERY_S = 0.5
    _MOST = 10_000
    """Lines that may wait for a slow disk; more, and the oldest are dropped."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as e:
            raise UserError(f"cannot write the trace {path}: {e.strerror or e}; choose another path") from None
        self._lines: deque[Mapping[str, Any]] = deque(maxlen=self._MOST)
        self._closing = threading.Event()
        self._begun = self._failed = False
        self._thread = threading.Thread(target=self._run, name="trace", daemon=True)
        self._thread.start()

    def write(self, line: Mapping[str, Any]) -> None:
        """Queue one line; from any thread. Floats are seconds and are rounded to microseconds, None is left out."""
        self._lines.append(line)

    def close(self, timeout: float = 1.0) -> None:
        """Write what waits and close the file; may be called twice."""
        self._closing.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closing.wait(self._EVERY_S)
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines and not self._failed:
                self._put("".join(map(_text, lines)).encode())
        self._file.close()

    def _put(self, data: bytes) -> None:
        try:
            if not self._begun and self._file.tell():
                os.truncate(self._file.fileno(), 0)
            self._begun = True
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError as e:
            self._failed = True
            self._warn(f"trace stopped: cannot write {self._path} ({e.strerror or e})")


def _text(line: Mapping[str, Any]) -> str:
    told = {key: round(v, 6) if isinstance(v, float) else v for key, v in line.items() if v is not None}
    return json.dumps(told, separators=(",", ":")) + "\n"
