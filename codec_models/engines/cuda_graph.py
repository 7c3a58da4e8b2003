"""One batch size of a tick, ready to run again and again: captured as a CUDA graph, or run as it is on a CPU.

A tick is some 1500 small operations; launched one by one they take longer than they compute. A graph launches them at
once. Rows come in through pinned memory and pictures go out through it, in one copy each way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

Body = Callable[[Tensor], Tensor]
"""Rows (size, n) float32 on the device -> pictures (size, 256, 256, 3) uint8 there."""
_WARM_UPS = 3


class SizedTick(Protocol):
    """rows: (size, n) float32 on the host, to be written to; then `run` gives what they ask for."""

    rows: Tensor

    def run(self, count: int, stay: bool = False) -> Tensor:
        """Pictures (count, 256, 256, 3) uint8 of the first rows, new ones: on the host, or with stay on the device."""


class EagerTick:
    """On a CPU, and where nothing can be captured."""

    def __init__(self, body: Body, rows: Tensor, device: torch.device) -> None:
        self.rows, self._body, self._device = rows.clone(), body, device
        self._body(self.rows.to(device))

    def run(self, count: int, stay: bool = False) -> Tensor:
        pictures = self._body(self.rows.to(self._device))[:count]
        return pictures if stay else pictures.cpu()


class CapturedTick:
    """rows: what to warm up with, on the host. pool: of the memory that graphs share which never run side by side; all
    that runs here runs on one stream. Raises RuntimeError where the body cannot be captured.
    """

    def __init__(self, body: Body, rows: Tensor, device: torch.device, stream: Any, pool: Any) -> None:
        self._stream = stream
        self.rows = rows.clone().pin_memory()
        self._given = rows.to(device)
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                body(self._given)
        stream.synchronize()
        self._graph = torch.cuda.CUDAGraph()
        # other threads may allocate meanwhile: only what this one does wrongly shall count
        with torch.cuda.graph(self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._pictures = body(self._given)
        # waits asleep: a thread that spins takes a core from the calls
        self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]

    def run(self, count: int, stay: bool = False) -> Tensor:
        with torch.cuda.stream(self._stream):
            self._given.copy_(self.rows, non_blocking=True)
            self._graph.replay()
            made = self._pictures[:count]
            if stay:
                shown = made.clone()
            else:
                # torch keeps pinned memory that is given back; so a picture is copied once, and may be kept
                shown = torch.empty(made.shape, dtype=torch.uint8, pin_memory=True)
                shown.copy_(made, non_blocking=True)
            self._done.record(self._stream)
        self._done.synchronize()
        return shown
