"""The picture wall: one row a clip, so that the eye can judge what the figures say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from codec_models.bitstream.timing import PICTURE
from codec_models.errors import UserError

from .side_by_side import blocks

COLUMNS = ("still", "what is sent: 8x8", "Pinhole", "truth")
ROWS_PER_BLOCK = 8
_GAP, _LABEL, _HEAD = 4, 20, 26


@dataclass(frozen=True)
class WallRow:
    """still, drawn, truth (256, 256, 3), low (8, 8, 3), all uint8 RGB; label: one line above the pictures."""

    label: str
    still: NDArray[np.uint8]
    low: NDArray[np.uint8]
    drawn: NDArray[np.uint8]
    truth: NDArray[np.uint8]


def telling_frame(points: NDArray[np.float32]) -> int:
    """The frame to show of a clip: three in four are nearer to the first one's pose, one in four is farther.

    points: (N, 110, 2), NaN where there is no face; without faces the middle one.
    """
    known = np.flatnonzero(~np.isnan(points).any((1, 2)))
    if not len(known):
        return len(points) // 2
    away = np.linalg.norm(points[known] - points[known[0]], axis=-1).mean(-1)
    return int(known[np.argsort(away, kind="stable")[int(0.75 * (len(known) - 1))]])


def draw(path: Path, rows: Sequence[WallRow], drawn_by: str) -> None:
    """Write the wall, blocks of eight rows beside each other. drawn_by: codec of the third column. Raises UserError."""
    blocks_across = max(1, math.ceil(len(rows) / ROWS_PER_BLOCK))
    down = math.ceil(len(rows) / blocks_across)
    cell, line = PICTURE + _GAP, PICTURE + _LABEL + _GAP
    wide = len(COLUMNS) * cell + 4 * _GAP
    image = Image.new("RGB", (blocks_across * wide, _HEAD + down * line), "white")
    pen = ImageDraw.Draw(image)
    for k, row in enumerate(rows):
        left, top = k // down * wide + 2 * _GAP, _HEAD + k % down * line
        if k % down == 0:
            for n, head in enumerate(COLUMNS):
                text = f"{head}: {drawn_by}" if n == 2 else head
                at = (left + n * cell + PICTURE / 2, 4)
                pen.text(at, text, fill="black", font=ImageFont.load_default(16), anchor="ma")
        pen.text((left, top + 3), row.label, fill="#444444", font=ImageFont.load_default(13))
        for n, picture in enumerate((row.still, blocks(row.low), row.drawn, row.truth)):
            image.paste(Image.fromarray(picture), (left + n * cell, top + _LABEL))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except (OSError, ValueError) as e:
        raise UserError(f"{path} cannot be written ({e}): choose another --wall file, such as wall.png") from e
