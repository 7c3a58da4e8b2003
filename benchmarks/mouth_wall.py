"""Mouths beside each other, enlarged, so that the eye can judge what the figures say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from codec_models.errors import UserError
from codec_models.mouth import MOUTH

from .mouth_metrics import Frames, Places

TIMES = 3
COLUMNS = ("reference still", "before", "after", "truth")
_GAP, _LABEL, _HEAD = 4, 18, 26


@dataclass(frozen=True)
class MouthRow:
    """mouths: of the columns, (96, 96, 3) uint8 RGB each; label: one line above them."""

    label: str
    mouths: Sequence[Frames]


def telling_ticks(places: Places) -> list[int]:
    """Ticks to show of a clip: widest open, middling, most closed, and turned farthest; each once, in order."""
    by_opening = np.argsort(places.opening, kind="stable")
    ticks = [by_opening[-1], by_opening[int(0.7 * (len(by_opening) - 1))], by_opening[0], np.abs(places.yaw).argmax()]
    return sorted({int(k) for k in ticks})


def draw(path: Path, rows: Sequence[MouthRow]) -> None:
    """Write the wall. Raises UserError."""
    side = TIMES * MOUTH
    cell, line = side + _GAP, side + _LABEL + _GAP
    image = Image.new("RGB", (len(COLUMNS) * cell + _GAP, _HEAD + len(rows) * line), "white")
    pen = ImageDraw.Draw(image)
    for n, head in enumerate(COLUMNS):
        pen.text((_GAP + n * cell + side / 2, 4), head, fill="black", font=ImageFont.load_default(16), anchor="ma")
    for k, row in enumerate(rows):
        top = _HEAD + k * line
        pen.text((_GAP, top + 2), row.label, fill="#444444", font=ImageFont.load_default(13))
        for n, mouth in enumerate(row.mouths):
            image.paste(Image.fromarray(_enlarged(mouth)), (_GAP + n * cell, top + _LABEL))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    except (OSError, ValueError) as e:
        raise UserError(f"{path} cannot be written ({e}): choose another --wall file, such as wall.png") from e


def _enlarged(mouth: NDArray[np.uint8]) -> NDArray[np.uint8]:
    side = TIMES * MOUTH
    return np.asarray(cv2.resize(mouth, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
