"""The engines from the command line.

python -m codec_models.engines list      what works here, how far from torch, how long a tick takes
python -m codec_models.engines build     build the TensorRT engines of this GPU (torch, onnx, tensorrt)
python -m codec_models.engines export    write the ONNX files anew, after weights have changed (torch, onnx)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import CommandParser, UserError, run_command
from .choice import PRECISIONS, NotHere, candidates
from .engine import Engine
from .files import FOLDER
from .parity import verify
from .samples import chain, host_inputs

_TIMED = 30


def list_engines() -> int:
    """One line for each engine and precision."""
    for candidate in candidates():
        for precision in PRECISIONS:
            try:
                engine = candidate.make(precision, 1)
                parity = verify(engine)
            except ImportError as e:
                print(f"{candidate.what}: not installed ({e.name})")
                break
            except UserError as e:
                print(f"{candidate.what} {precision}: {e}")
                continue
            except NotHere:
                print(f"{candidate.what}: no such device")
                break
            off = f"off by {100 * parity.error:.2g} % ({parity.output} of {parity.network})"
            print(f"{engine.backend} on {engine.device}: {off}, tick {tick_ms(engine):.1f} ms (one thread, median)")
    return 0


def tick_ms(engine: Engine) -> float:
    """Median time of the networks of a tick with teeth, one after the other."""
    inputs, _ = chain(engine, host_inputs())
    spent = []
    for _ in range(_TIMED):
        began = time.perf_counter()
        for network in ("tick", "mouth", "teeth"):
            made = engine.run(network, inputs[network])
        engine.numpy(next(iter(made.values())))
        spent.append(1e3 * (time.perf_counter() - began))
    return float(np.median(spent))


def build(calls: int) -> int:
    """See `tensorrt_engine.build_engines`. Raises UserError."""
    if calls < 1:
        raise UserError(f"engines for {calls} calls: at least 1")
    try:
        from .tensorrt_engine import Builder, build_engines
    except ImportError as e:
        raise UserError(f"building needs {e.name}: pip install -e '.[gpu]'") from None
    return min(1, build_engines(Builder(), calls))


def export(folder: Path) -> int:
    """See `export.export_all`. Raises UserError."""
    try:
        from .export import export_all
    except ImportError as e:
        raise UserError(f"exporting needs {e.name}: pip install -e '.[dev]'") from None
    export_all(folder)
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(prog="python -m codec_models.engines", description="Runtimes for the networks.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="what works here, how far from torch, how long a tick takes")
    add = commands.add_parser("build", help="build the TensorRT engines of this GPU").add_argument
    add("--calls", type=int, default=1, help="that are drawn together at most (default: 1)")
    add = commands.add_parser("export", help="write the ONNX files anew, after weights have changed").add_argument
    add("--folder", type=Path, default=FOLDER, help="where the weights are and the files go (the program's own)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Raises UserError."""
    options = parse(arguments)
    actions: dict[str, Callable[[], int]] = {
        "list": list_engines,
        "build": lambda: build(options.calls),
        "export": lambda: export(options.folder),
    }
    return actions[options.command]()


if __name__ == "__main__":
    run_command(main)
