"""Picture quality, measured frame by frame and averaged over the clip.

- PSNR: on RGB, peak 255, one mean squared error over the three channels of a frame (dB).
- SSIM: on full-range BT.709 luma, Gaussian window 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, valid windows only
  (Wang, Bovik, Sheikh, Simoncelli 2004).
- MS-SSIM: on the same luma, five scales, 2x2 mean between them, the published weights (Wang, Simoncelli, Bovik 2003).
- VMAF: the model vmaf_v0.6.1 that libvmaf has built in, on YUV 4:2:0 of `anchors.colour`. It was trained for HD
  pictures seen from a distance, so on 256x256 it ranks rather than measures.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.errors import UserError

from .anchors.codec import FPS
from .anchors.colour import luma, to_yuv420
from .ffmpeg import ffmpeg_path, ffmpeg_version

DEFINITIONS = {
    "psnr": "RGB, mean of the frames' PSNR, dB (identical frames count as 100)",
    "ssim": "BT.709 luma, Gaussian 11x11 sigma 1.5, valid windows, mean of the frames",
    "ms_ssim": "BT.709 luma, 5 scales, weights of Wang et al. 2003, mean of the frames",
    "vmaf": f"vmaf_v0.6.1 of libvmaf in ffmpeg {ffmpeg_version()}, yuv420p, mean of the frames",
}
IDENTICAL_DB = 100.0
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_MARGIN = 5

Frames = NDArray[np.uint8]
Plane = NDArray[np.float32]


def picture_quality(reference: Frames, distorted: Frames, with_vmaf: bool) -> dict[str, float]:
    """All measures of `DEFINITIONS` of (N, H, W, 3) uint8 RGB clips; VMAF where wanted and installed."""
    figures = {
        "psnr": psnr(reference, distorted),
        "ssim": ssim(reference, distorted),
        "ms_ssim": ms_ssim(reference, distorted),
    }
    if with_vmaf and (score := vmaf(reference, distorted)) is not None:
        figures["vmaf"] = score
    return figures


def psnr(reference: Frames, distorted: Frames) -> float:
    """Mean PSNR in dB of (N, H, W, 3) uint8 RGB clips; also of single (H, W, 3) pictures."""
    _same(reference, distorted)
    error = (reference.astype(np.float32) - distorted.astype(np.float32)) ** 2
    mse = error.reshape(*error.shape[:-3], -1).mean(-1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        values = 10 * np.log10(255.0**2 / mse)
    return float(np.minimum(values, IDENTICAL_DB).mean())


def ssim(reference: Frames, distorted: Frames) -> float:
    """Mean SSIM of (N, H, W, 3) uint8 RGB clips, at least 11 pixels a side."""
    _same(reference, distorted)
    return float(np.mean([_ssim_maps(luma(a), luma(b))[0] for a, b in zip(reference, distorted, strict=True)]))


def ms_ssim(reference: Frames, distorted: Frames) -> float:
    """Mean MS-SSIM of (N, H, W, 3) uint8 RGB clips, at least 176 pixels a side."""
    _same(reference, distorted)
    if min(reference.shape[1:3]) < 11 * 16:
        raise ValueError("five scales need at least 176 pixels a side")
    return float(np.mean([_ms_ssim(luma(a), luma(b)) for a, b in zip(reference, distorted, strict=True)]))


def vmaf(reference: Frames, distorted: Frames) -> float | None:
    """Mean VMAF of (N, H, W, 3) uint8 RGB clips, 0 to 100; None where the static ffmpeg is not installed."""
    _same(reference, distorted)
    ffmpeg = ffmpeg_path()
    if ffmpeg is None:
        return None
    height, width = reference.shape[1:3]
    with tempfile.TemporaryDirectory(prefix="pinhole-vmaf-") as folder:
        inputs = []
        for name, frames in (("distorted", distorted), ("reference", reference)):
            with open(Path(folder) / name, "wb") as file:
                for picture in frames:
                    file.writelines(p.tobytes() for p in to_yuv420(picture))
            inputs += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", str(FPS), "-i", name]
        command = [ffmpeg, "-hide_banner", "-loglevel", "error", *inputs, "-lavfi"]
        command += ["libvmaf=log_fmt=json:log_path=vmaf.json:model=version=vmaf_v0.6.1", "-f", "null", "-"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        log = Path(folder) / "vmaf.json"
        if run.returncode or not log.is_file():
            last = " ".join(run.stderr.strip().splitlines()[-1:])
            raise UserError(f"VMAF cannot be measured ({last}): run with --no-vmaf")
        scores = [f["metrics"]["vmaf"] for f in json.loads(log.read_text())["frames"]]
    return float(np.mean(scores))


def _same(reference: Frames, distorted: Frames) -> None:
    if reference.shape != distorted.shape:
        raise ValueError(f"clips differ in shape: {reference.shape} and {distorted.shape}")


def _blur(plane: Plane) -> Plane:
    full = cv2.GaussianBlur(plane, (11, 11), 1.5)
    return np.asarray(full[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN], np.float32)


def _ssim_maps(a: Plane, b: Plane) -> tuple[float, float]:
    """Mean SSIM, and mean of its contrast-structure factor, of two planes in 0 to 255."""
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    both = _blur(a * b) - mean_a * mean_b
    structure = (2 * both + _C2) / (var_a + var_b + _C2)
    whole = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1) * structure
    return float(whole.mean()), float(structure.mean())


def _ms_ssim(a: Plane, b: Plane) -> float:
    value = 1.0
    for scale, weight in enumerate(_WEIGHTS):
        whole, structure = _ssim_maps(a, b)
        part = whole if scale == len(_WEIGHTS) - 1 else structure
        value *= max(part, 0.0) ** weight
        if scale < len(_WEIGHTS) - 1:
            a, b = (np.asarray(_halve(p), np.float32) for p in (a, b))
    return value


def _halve(plane: Plane) -> Plane:
    height, width = plane.shape[0] // 2 * 2, plane.shape[1] // 2 * 2
    size = (width // 2, height // 2)
    return np.asarray(cv2.resize(plane[:height, :width], size, interpolation=cv2.INTER_AREA), np.float32)
