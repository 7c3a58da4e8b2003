"""The reconstructions of a receiver's calls: one of its own, or several on one device."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

from codec_models.engines.batch import Batch
from codec_models.engines.choice import has_gpu
from codec_models.engines.shared_device import share
from codec_models.errors import UserError
from codec_models.reconstruction import Reconstructor, reconstructor, without_network

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def cores() -> int:
    """Of the processor, that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Drawings:
    """count: calls that shall be drawn at once. `say` gets a line on the device, and on what could not be used.

    On a GPU, and where there are more calls than cores, their ticks run together (`engines/batch.py`), and a call
    that would make the others late is refused. Calls that have a core each draw for themselves. Raises UserError where
    the networks, a runtime or a precision was asked for by name and cannot run.
    """

    def __init__(self, args: argparse.Namespace, count: int, say: Callable[[str], None]) -> None:
        self._args, self._say = args, say
        self._name: str = args.reconstruction
        self._batch: Batch | None = None
        self._told = False
        shared = count > cores() or args.backend == "tensorrt" or has_gpu()
        if args.reconstruction == "still-colour" or not shared:
            return
        try:
            self._batch = share(count, args.backend, say, args.precision)
        except UserError as e:
            if args.reconstruction == "network" or args.backend != "auto" or args.precision is not None:
                raise
            say(without_network(e))
            self._name = "still-colour"

    def next(self) -> Reconstructor:
        """For one more call. Raises UserError where the device is full."""
        args = self._args
        if self._batch is not None:
            drawing: Reconstructor = self._batch.call(not args.no_teeth, args.lookahead)
        else:
            drawing = reconstructor(
                self._name,
                self._say,
                lookahead=args.lookahead,
                teeth=not args.no_teeth,
                backend=args.backend,
                precision=args.precision,
            )
        if not self._told:
            self._told = True
            self._say(f"drawing with {drawing.backend} on {drawing.device}")
        return drawing

    def close(self) -> None:
        """The calls have ended."""
        if self._batch is not None:
            self._batch.close()
