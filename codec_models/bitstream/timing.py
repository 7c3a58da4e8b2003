"""What both ends count in: one tick is 40 ms of voice and at most one 8x8 face frame; sizes, and rates from them."""

TICK_MS = 40
TICKS_PER_SECOND = 1000 // TICK_MS
SAMPLE_RATE = 48_000
SAMPLES_PER_TICK = SAMPLE_RATE * TICK_MS // 1000
GRID = 8
"""Side of the face frame in pixels."""
PICTURE = 256
"""Side of the reconstructed picture in pixels."""


def kbps(byte_count: float, seconds: float) -> float:
    """Kilobits (1000) a second; 0 over no time."""
    return byte_count * 8 / 1000 / seconds if seconds > 0 else 0.0


def face_bpp(face_kbps: float) -> float:
    """Bits per pixel of the shown video: 256x256 at 25 fps, whatever the rate of the 8x8 frames."""
    return face_kbps * 1000 / (TICKS_PER_SECOND * PICTURE * PICTURE)
