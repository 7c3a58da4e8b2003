from __future__ import annotations

import cv2
import numpy as np
import pytest

from codec_models.errors import UserError
from receiver.display import Window, compose, gui_of

pytestmark = pytest.mark.unit


def test_window_toolkit_is_read_from_the_build_information() -> None:
    assert gui_of("  GUI:                           NONE\n    GTK+:   NO\n") is None
    assert gui_of("  GUI:                           QT5\n    QT:  YES (ver 5.15)\n") == "QT5"
    assert gui_of("  GUI: \n    Cocoa:                       YES\n") == "Cocoa"
    assert gui_of("") is None


def test_without_a_screen_the_browser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    for build in ("GUI: NONE", "GUI: GTK3"):
        monkeypatch.setattr(cv2, "getBuildInformation", lambda build=build: build)
        with pytest.raises(UserError, match="--show browser"):
            Window()


def test_the_picture_stands_beside_the_crisp_8x8() -> None:
    low = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    content = compose(np.full((256, 256, 3), (10, 20, 30), np.uint8), low)
    assert content.shape == (512, 768, 3)
    assert (content[100, 100] == (30, 20, 10)).all()  # OpenCV wants BGR.
    assert (content[0:32, 512:544] == low[0, 0, ::-1]).all() and (content[255, 767] == low[7, 7, ::-1]).all()
    assert compose(np.zeros((256, 256, 3), np.uint8), None).shape == (512, 768, 3)
