"""Table 3 of the audio-visual upsampler paper that Pinhole follows, VoxCeleb2: as published, measured by its authors on
their clips, so never comparable to the decibel and never part of a mean here.
"""

from __future__ import annotations

from codec_models.bitstream.timing import PICTURE, TICKS_PER_SECOND

from .report import Row

SOURCE = "Hegde et al., Extreme-scale Talking-Face Video Upsampling with Audio-Visual Priors, table 3 (VoxCeleb2)"

_TABLE: tuple[tuple[str, float | None, float, float, float], ...] = (
    ("H.264 CRF 23", 0.109, 32.96, 0.79, 9.75),
    ("H.264 CRF 36", 0.027, 19.24, 0.67, 30.12),
    ("H.266", 0.0076, 23.27, 0.70, 58.32),
    ("fs-vid2vid", None, 20.36, 0.71, 85.76),
    ("os-synth", 0.016, 24.37, 0.80, 69.13),
    ("paper", 0.023, 24.95, 0.71, 14.10),
    ("paper, 5 fps", 0.0046, 23.72, 0.68, 14.51),
)


def published_rows() -> list[Row]:
    """One row a line of the table; kbps follows from bpp at 256x256 and 25 fps."""
    rows: list[Row] = []
    for name, bpp, psnr, ssim, fid in _TABLE:
        row: Row = {"codec": f"{name} (published)", "psnr": psnr, "ssim": ssim, "fid": fid}
        if bpp is not None:
            row |= {"bpp": bpp, "kbps": bpp * PICTURE * PICTURE * TICKS_PER_SECOND / 1000}
        rows.append(row)
    return rows
