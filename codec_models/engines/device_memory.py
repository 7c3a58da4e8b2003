"""How much memory a device has left."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def free_memory(device: Any) -> int | None:
    """Bytes that are free on a device as torch names it, for a CPU those of the machine; None where not known."""
    if str(device).startswith("cuda"):
        import torch

        index = torch.device(device).index
        free, _ = torch.cuda.mem_get_info(torch.cuda.current_device() if index is None else index)
        return int(free)
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        return None
    return None
