"""Keeps freed memory in the process: fetching it again from the system costs more than the arithmetic done in it.

A network on a CPU takes and frees megabytes in every layer. By default glibc gives such blocks back to the system at
once, and every page is faulted in anew by the next layer. Measured on two virtual cores: windows of 8x8 frames are made
six times as fast with the memory kept, a training step of the upsampler goes from 8.5 to 10.7 samples a second.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # <malloc.h>
_NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Ask glibc to keep what is freed, in one arena; False where there is no glibc. Best called before work starts."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    wanted = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, 64 << 20))
    return all([bool(mallopt(option, value)) for option, value in wanted])
