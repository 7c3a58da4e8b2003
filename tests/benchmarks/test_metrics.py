"""Quality measures against scikit-image and against what must hold."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks import metrics
from benchmarks.anchors.colour import luma
from benchmarks.ffmpeg import ffmpeg_path

pytestmark = pytest.mark.unit


def clip(count: int = 3, side: int = 192, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth moving texture, (count, side, side, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    return np.stack([np.roll(base, 2 * k, 1) for k in range(count)]).astype(np.uint8)


def noisy(frames: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(7).normal(0, sigma, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def test_psnr_is_that_of_scikit_image() -> None:
    a = clip()
    b = noisy(a, 9)
    expected = np.mean([peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(a, b, strict=True)])
    assert metrics.psnr(a, b) == pytest.approx(expected, abs=1e-3)
    assert metrics.psnr(a[0], b[0]) == pytest.approx(peak_signal_noise_ratio(a[0], b[0], data_range=255), abs=1e-3)


def test_psnr_of_a_known_error() -> None:
    a = np.full((2, 16, 16, 3), 100, np.uint8)
    assert metrics.psnr(a, a + 5) == pytest.approx(20 * np.log10(255 / 5), abs=1e-4)
    assert metrics.psnr(a, a) == metrics.IDENTICAL_DB


def test_ssim_is_that_of_scikit_image() -> None:
    a = clip()
    for sigma in (3, 12, 40):
        b = noisy(a, sigma)
        expected = np.mean(
            [
                structural_similarity(
                    luma(x), luma(y), data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
                )
                for x, y in zip(a, b, strict=True)
            ]
        )
        assert metrics.ssim(a, b) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("measure", [metrics.ssim, metrics.ms_ssim])
def test_structure_measures_fall_as_noise_grows(measure: object) -> None:
    assert callable(measure)
    a = clip()
    values = [measure(a, noisy(a, sigma)) for sigma in (0, 5, 15, 45)]
    assert values[0] == pytest.approx(1, abs=1e-6)
    assert values == sorted(values, reverse=True)
    assert 0 < values[-1] < 0.95


def test_ms_ssim_forgives_fine_noise_more_than_blur_of_the_same_error() -> None:
    a = clip(1)
    blurred = cv2.GaussianBlur(a[0], (0, 0), 6)[None]
    error = float(np.sqrt(((a.astype(float) - blurred) ** 2).mean()))
    assert metrics.ms_ssim(a, noisy(a, error)) > metrics.ms_ssim(a, blurred)


def test_clips_of_different_shape_are_refused() -> None:
    a = clip()
    for measure in (metrics.psnr, metrics.ssim, metrics.ms_ssim, metrics.vmaf):
        with pytest.raises(ValueError, match="shape"):
            measure(a, a[:2])


@pytest.mark.skipif(ffmpeg_path() is None, reason="imageio-ffmpeg is not installed")
def test_vmaf_ranks() -> None:
    a = clip(4)
    same, worse = metrics.vmaf(a, a), metrics.vmaf(a, noisy(a, 25))
    assert same is not None and worse is not None
    assert same > 90
    assert worse < same - 10


def test_vmaf_is_absent_without_the_static_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ffmpeg_path", lambda: None)
    assert metrics.vmaf(clip(1), clip(1)) is None
