"""The clock that both ends share: one tick is 40 ms of voice and at most one 8x8 face frame."""

TICK_MS = 40
TICKS_PER_SECOND = 1000 // TICK_MS
SAMPLE_RATE = 48_000
SAMPLES_PER_TICK = SAMPLE_RATE * TICK_MS // 1000
GRID = 8
"""Side of the face frame in pixels."""
PICTURE = 256
"""Side of the reconstructed picture in pixels."""
