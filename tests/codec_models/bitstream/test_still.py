from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from PIL import Image
from skimage import data as images

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.still import IdentityStill, decode_still, encode_still

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.ascontiguousarray(images.astronaut()[:256, 90:346])


def test_still_comes_back_sharp_and_small(portrait: np.ndarray) -> None:
    points = np.random.default_rng(0).uniform(-0.1, 1.1, (110, 2)).astype(np.float32)
    message = encode_still(IdentityStill(portrait, points), max_bytes=6000)
    assert 4000 < len(message) <= 6000
    still = decode_still(message)
    assert 10 * np.log10(255**2 / np.mean((still.picture.astype(float) - portrait) ** 2)) > 33
    assert still.points is not None
    assert np.abs(still.points - points).max() <= 0.5 / 2048 + 1e-6


def test_more_bytes_give_a_better_still(portrait: np.ndarray) -> None:
    def error(size: int) -> float:
        decoded = decode_still(encode_still(IdentityStill(portrait, None), size))
        assert decoded.points is None
        return float(np.mean((decoded.picture.astype(float) - portrait) ** 2))

    assert error(10_000) < error(6000) < error(3000)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_what_a_browser_sends(portrait: np.ndarray, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(portrait).save(buffer, kind, quality=60)
    still = decode_still(b"\x01\x00" + buffer.getvalue())
    assert np.abs(still.picture.astype(float) - portrait).mean() < 8


def test_wrong_size_and_format_are_refused_before_decoding(portrait: np.ndarray) -> None:
    for size, kind in (((8000, 8000), "JPEG"), ((255, 256), "WEBP"), ((256, 256), "PNG"), ((256, 256), "GIF")):
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, kind)
        with pytest.raises(BitstreamError):
            decode_still(b"\x01\x00" + buffer.getvalue())


def test_garbage_raises_one_error(portrait: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    good = encode_still(IdentityStill(portrait, np.zeros((110, 2), np.float32)), 3000)
    for k in range(300):
        data = bytearray(good)
        if k % 3 == 0:
            data = bytearray(b"\x01\x6e" + rng.bytes(int(rng.integers(0, 600))))
        elif k % 3 == 1:
            data = data[: int(rng.integers(0, len(data)))]
        else:
            for _ in range(3):
                data[int(rng.integers(0, len(data)))] ^= 1 << int(rng.integers(0, 8))
        with contextlib.suppress(BitstreamError):
            assert decode_still(bytes(data)).picture.shape == (256, 256, 3)


def test_shape_is_checked() -> None:
    with pytest.raises(ValueError):
        encode_still(IdentityStill(np.zeros((128, 128, 3), np.uint8), None))
