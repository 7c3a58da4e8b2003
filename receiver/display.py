"""A window on this machine's screen, where OpenCV was built with one; pictures only, the page has the sound."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.errors import UserError

from .renderer import ShownPicture

TITLE = "Pinhole (reconstructed)"
SIDE = 512


def gui_of(build: str) -> str | None:
    """The window toolkit that OpenCV's build information names, None without one."""
    found = re.search(r"^[ \t]*GUI:[ \t]*(\S+)", build, re.MULTILINE)
    parts = re.findall(r"^[ \t]*(GTK\+?|QT|Win32 UI|Cocoa|Wayland):\s*YES", build, re.MULTILINE | re.IGNORECASE)
    if found and found.group(1).upper() not in ("NONE", "NO"):
        return found.group(1)
    return parts[0] if parts else None


class Window:
    """Raises UserError where there is no window toolkit or no screen. `refresh` runs on the main thread."""

    def __init__(self) -> None:
        if gui_of(cv2.getBuildInformation()) is None:
            raise UserError("this OpenCV is built without windows (opencv-python-headless): use --show browser")
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise UserError("there is no screen here to open a window on: use --show browser")
        self._newest: ShownPicture | None = None
        self.closed = False

    def picture(self, shown: ShownPicture) -> None:
        """The newest picture replaces one that has not been shown."""
        self._newest = shown

    def refresh(self) -> None:
        """Show the newest picture and see to the window; `closed` is set when the user closes it or presses q."""
        shown, self._newest = self._newest, None
        if shown is not None:
            cv2.imshow(TITLE, compose(shown.picture, shown.low))
        key = cv2.pollKey() & 0xFF
        gone = shown is None and _visible() == 0
        self.closed = self.closed or key in (27, ord("q")) or gone

    def close(self) -> None:
        cv2.destroyAllWindows()


def _visible() -> float:
    value: Any = cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE)
    return float(value)


def compose(picture: NDArray[np.uint8], low: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """picture (256, 256, 3) and low (8, 8, 3) RGB -> the window's content (512, 768, 3) BGR, side by side."""
    large = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    panel = np.full((SIDE, SIDE // 2, 3), 24, np.uint8)
    if low is not None:
        panel[: SIDE // 2] = cv2.resize(low, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_NEAREST)
    return np.ascontiguousarray(np.concatenate([large, panel], axis=1)[..., ::-1])
