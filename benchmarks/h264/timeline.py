"""What both sides of the H.264 call write down: one JSON object a line, one line a picture.

All times are seconds of `time.monotonic()`, which on Linux is one clock for all processes. `timestamp` is the 32-bit
RTP timestamp, the key by which the two files are joined.

- sender: `timestamp`, `tick` (number of the picture, from 0), `captured`, `began` (the face is looked for), `cropped`,
  `encoding` (the encoder takes it), `encoded`, `sent` (its last packet is given to the transport), `bytes` (of its RTP
  payloads), `packets`;
- receiver: `timestamp`, `arrived_first` and `arrived` (first and last packet, decrypted, at the jitter buffer), `left`
  (the jitter buffer), `decoding` (the decoder takes it), `decoded`, `shown` (the newest one that the track gives).

A picture that never got so far has no entry for what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec_models.errors import UserError

CLOCK_RATE = 90_000
"""Of the RTP timestamps of video (RFC 6184, section 8.2.1)."""
STEP = CLOCK_RATE // 25
"""RTP timestamps between two pictures."""
SAMPLED = 12
"""One picture in so many is kept by both sides, to be compared."""
MOST = 25 * 600
"""Pictures of one call that are written down at most."""

Line = dict[str, Any]


class Timeline:
    """Lines by RTP timestamp; marks come from the event loop and from codec threads."""

    def __init__(self) -> None:
        self._lines: dict[int, Line] = {}

    def mark(self, timestamp: int, **times: float | int) -> None:
        """Note figures of a picture; what is noted twice counts as noted last."""
        line = self._lines.get(timestamp)
        if line is None:
            if len(self._lines) >= MOST:
                return
            line = self._lines.setdefault(timestamp, {"timestamp": timestamp})
        line.update(times)

    def has(self, timestamp: int, name: str) -> bool:
        """Whether a figure of a picture is noted."""
        return name in self._lines.get(timestamp, {})

    @property
    def lines(self) -> list[Line]:
        """In the order in which the pictures were first seen."""
        return list(self._lines.values())


def rtp_timestamp(origin: int, tick: int) -> int:
    """Of picture number `tick` where that of number 0 is `origin`."""
    return (origin + tick * STEP) & 0xFFFFFFFF


def sampled(timestamp: int) -> bool:
    """Whether both sides keep the picture of this RTP timestamp."""
    return timestamp // STEP % SAMPLED == 0


def write_text(path: Path, text: str) -> None:
    """Raises UserError where the file cannot be written."""
    _write(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_lines(path: Path, lines: list[Line]) -> None:
    """Raises UserError where the file cannot be written."""
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))


def write_pictures(path: Path, pictures: dict[int, NDArray[np.uint8]]) -> None:
    """timestamp -> (256, 256, 3) uint8 RGB. Raises UserError where the file cannot be written."""

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez(file, allow_pickle=False, **{str(k): v for k, v in pictures.items()})

    _write(path, save)


def read_pictures(path: Path) -> dict[int, NDArray[np.uint8]]:
    """What `write_pictures` wrote; empty where there is no such file."""
    try:
        with np.load(path) as file:
            return {int(name): file[name] for name in file.files}
    except (OSError, ValueError):
        return {}


def _write(path: Path, save: Callable[[Path], Any]) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        save(part)
        part.replace(path)
    except OSError as e:
        raise UserError(f"{path} cannot be written ({e.strerror}): choose another file") from e
