"""Ticks a second: each network and the whole tick, on every runtime that works here; and what the limit would be.

    python -m benchmarks.throughput [--backends B,B,...] [--seconds S] [--threads N] [--json F]

Rows are networks (`engines.engine.NETWORKS`) and `whole tick`: upsampler, mouth, teeth, adding, bytes. Where a runtime
takes several calls in a batch, the whole tick is measured in batches too, on one device with its features resident
there (`engines/device_tick.py`; CUDA graphs on a GPU). GFLOP and MB are those of one row (`limits.py`), the share of
the peak is of a large matrix product in torch, in the same precision and on as many threads.

Then calls are simulated (`shared_calls.py`): how many are held at 25 pictures a second with p99 under 40 ms, and how
many the batch would let in by its own rule (`engines/admission.py`), which keeps a margin for what is not simulated.

Other sizes (`paper`) are measured on a GPU, with random weights: speed does not depend on them. What cannot run here is
listed as not measured.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from benchmarks.runtimes import BACKENDS, Missing, Runtime, runtimes
from codec_models.engines.batch import Batch, BatchConfig
from codec_models.engines.engine import NETWORKS, Arrays, Engine
from codec_models.engines.samples import chain, host_inputs
from codec_models.engines.serial_tick import SerialTick
from codec_models.engines.tick_row import TickRow, packed
from codec_models.errors import CommandParser, UserError, run_command

if TYPE_CHECKING:
    from benchmarks.limits import Limit, Limits

WHOLE = "whole tick"
LEAST_RUNS, WARM_UPS = 5, 2
CPU_BATCHES, GPU_BATCHES = (1, 2, 4), (1, 2, 4, 8, 16, 32, 64, 128, 256)
CPU_CALLS = 4
MOST_SECONDS, MOST_THREADS = 3600, 256
_CALLS_SHARE = 0.4
"""Of the time, for simulated calls."""
LEAST_CALL_S = 4.0
"""100 ticks of each call: p99 leaves one out."""
_TRIES = 4
"""Numbers of calls that are tried on each runtime, about."""
COLUMNS = {
    "codec": "network and runtime",
    "batch": "batch|.0f",
    "ms_p50": "p50, ms|.2f",
    "ms_p95": "p95|.2f",
    "ticks_per_s": "ticks/s|.0f",
    "gflop": "GFLOP|.3f",
    "mb_least": "MB, least|.1f",
    "share_of_peak": "of peak|.0%",
    "share_of_limit": "of limit|.0%",
}
CALL_COLUMNS = {
    "codec": "runtime",
    "calls_held": "calls held|.0f",
    "calls_admitted": "let in|.0f",
    "p50_ms": "p50, ms|.1f",
    "p99_ms": "p99|.1f",
    "next_p99_ms": "with more, p99|.1f",
    "tick_ms": "one tick, ms|.1f",
    "still_ms": "a still, ms|.1f",
    "rss_mb": "memory, MB|.0f",
    "device_mb": "of the GPU, MB|.0f",
}


@dataclass(slots=True)
class Plan:
    """What is to be measured. seconds: of a single measurement; call_seconds: of simulated calls."""

    threads: int
    seconds: float
    call_seconds: float
    rows: list[Row] = field(default_factory=list)
    calls: list[Row] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)


def timed(action: Callable[[], Any], seconds: float) -> list[float]:
    """Milliseconds of runs for about so long, at least `LEAST_RUNS`; those that warm up are left out."""
    for _ in range(WARM_UPS):
        action()
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while len(spent) < LEAST_RUNS or time.perf_counter() < end:
        began = time.perf_counter()
        action()
        spent.append(1e3 * (time.perf_counter() - began))
    return spent


def row(network: str, backend: str, precision: str, device: str, batch: int, ms: Sequence[float], limit: Limit) -> Row:
    """Figures of one network on one runtime. limit: what it asks for, and what the machine could do."""
    p50, p95 = np.percentile(ms, [50, 95]).tolist()
    made: Row = {
        "codec": f"{network} {backend}{f' x{batch}' if batch > 1 else ''}", "network": network, "backend": backend,
        "precision": precision, "device": device, "batch": batch, "runs": len(ms), "ms_p50": p50, "ms_p95": p95,
        "ticks_per_s": 1e3 * batch / p50,
    }  # fmt: skip
    return made | limit.shares(p50 / batch)


def computed_in(network: str, runtime: Runtime) -> str:
    """The precision of a network's arithmetic: what works on coordinates is in float32 everywhere, and what runs once a
    still is so with OpenVINO.
    """
    signature = NETWORKS.get(network)
    if signature is None:
        return runtime.precision
    exact = signature.exact or (signature.once and runtime.backend == "openvino")
    return "fp32" if exact else runtime.precision


def whole_tick(engine: Engine) -> Callable[[], Any]:
    """The whole tick of one call, step by step as `NetworkReconstructor` does it."""
    tick = SerialTick(engine, 1)
    host = host_inputs()
    identity, reference = (tick.run(name, host[name]) for name in ("still", "teeth_still"))
    tick.exchange(0, identity, reference)
    values = packed({**host["tick"], "begins": 0, "restore": 1})

    def run() -> None:
        (picture,) = tick.draw([TickRow(0, values)])
        if isinstance(picture, Exception):
            raise picture

    return run


def networks(engine: Engine) -> dict[str, Callable[[], Any]]:
    """Each network on sample inputs; done when its outputs are."""
    inputs, _ = chain(engine, host_inputs())

    def run(network: str, given: Arrays) -> Callable[[], Any]:
        def action() -> None:
            made = engine.run(network, given)
            if engine.device != "cpu":
                engine.numpy(next(iter(made.values())))

        return action

    return {network: run(network, inputs[network]) for network in NETWORKS}


def device_of(runtime: Runtime, slots: int) -> Any:
    """A device that draws several calls together, as this runtime does it. Raises UserError, ImportError."""
    import torch

    from codec_models.engines.device_tick import DeviceTick, DeviceTickConfig

    types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    config = DeviceTickConfig("cuda" if runtime.gpu else "cpu", types[runtime.precision])
    if runtime.backend == "tensorrt":
        from codec_models.engines.tensorrt_engine import Builder, tensorrt_core

        core = tensorrt_core(Builder(), slots)
        if core is None:
            raise UserError("TensorRT was refused (see above)")
        return DeviceTick(slots, config, core)
    return DeviceTick(slots, config)


def together(device: Any, count: int) -> Callable[[], Any]:
    """A batch of so many calls."""
    host = host_inputs()
    identity, reference = (device.run(name, host[name]) for name in ("still", "teeth_still"))
    for slot in range(count):
        device.exchange(slot, identity, reference)
    values = packed({**host["tick"], "begins": 0, "restore": 1})
    rows = [TickRow(slot, values) for slot in range(count)]
    return lambda: device.draw(rows)


def measure(runtime: Runtime, plan: Plan, limits: Limits, show: Progress) -> None:
    """All rows of one runtime into the plan; what cannot run becomes a line of what is missing."""
    try:
        engine: Engine | None = runtime.make(plan.threads)
    except ImportError as e:
        plan.missing.append(Missing(runtime.name, f"{e.name or 'a package'} is not installed"))
        return
    except UserError as e:
        plan.missing.append(Missing(runtime.name, str(e)))
        if not (runtime.gpu and runtime.precision == "fp16") or not _gpu():
            return
        engine = None
    if engine is not None:
        for network, action in {**networks(engine), WHOLE: whole_tick(engine)}.items():
            limit = limits.of(network, engine.device, computed_in(network, runtime))
            ms = timed(action, plan.seconds)
            plan.rows.append(row(network, engine.backend, runtime.precision, engine.device, 1, ms, limit))
            show.step(f"{network} {engine.backend}")
    try:
        _batches(runtime, engine, plan, limits, show)
    except (UserError, ImportError) as e:
        plan.missing.append(Missing(f"{runtime.name}, calls together", str(e)))


def _batches(runtime: Runtime, engine: Engine | None, plan: Plan, limits: Limits, show: Progress) -> None:
    batches = GPU_BATCHES if runtime.gpu else CPU_BATCHES
    slots = batches[-1] if runtime.gpu else CPU_CALLS
    if runtime.together:
        device = device_of(runtime, slots)
        limit = limits.of(WHOLE, device.device, runtime.precision)
        for count in batches:
            ms = timed(together(device, count), plan.seconds)
            made = row(f"{WHOLE}, together,", device.backend, runtime.precision, device.device, count, ms, limit)
            plan.rows.append(made)
            show.step(f"{count} calls {device.backend}")
    else:
        assert engine is not None
        device = SerialTick(engine, slots)
    plan.calls.append(held_calls(device, runtime, slots, plan.call_seconds))
    show.step(f"calls {device.backend}")


def held_calls(device: Any, runtime: Runtime, slots: int, seconds: float) -> Row:
    """How many simulated calls are held, and how many the batch would let in."""
    from benchmarks.shared_calls import Calls, most_calls
    from benchmarks.tick import resident_mb

    # a batch that lets in all, and the rule of one that does not
    batch = Batch(device, BatchConfig(deadline=1e6))
    rule = batch.admission
    rule.deadline = BatchConfig().deadline
    admitted = next(n for n in range(slots + 1) if rule.refusal(n) is not None)
    made: Row = {
        "codec": f"calls {device.backend}", "backend": device.backend, "precision": runtime.precision,
        "device": device.device, "calls_admitted": admitted, "tick_ms": 1e3 * rule.batch(1), "still_ms": 1e3 * rule.job,
        "slots": slots,
    }  # fmt: skip
    rule.deadline = 1e6
    calls = Calls(batch)
    try:
        tried = most_calls(calls, slots, seconds)
    finally:
        calls.close()
        batch.close()
    good = max((h for h in tried if h.well), key=lambda h: h.calls, default=None)
    made["calls_held"] = 0 if good is None else good.calls
    if good is not None:
        made |= {f"p{p}_ms": good.percentile(p) for p in (50, 95, 99)}
    more = min((h for h in tried if not h.well), key=lambda h: h.calls, default=None)
    if more is not None:
        made |= {"next_calls": more.calls, "next_p99_ms": more.percentile(99), "next_missed": more.missed}
    made["rss_mb"] = resident_mb()
    if runtime.gpu:
        import torch

        made["device_mb"] = torch.cuda.max_memory_reserved() / 1e6
    return made


def paper(plan: Plan, show: Progress) -> None:
    """The sizes of the papers' class, with random weights, on a GPU."""
    name = "paper sizes"
    if not _gpu():
        plan.missing.append(Missing(name, "there is no NVIDIA GPU that torch can use"))
        return
    import torch
    from safetensors.torch import save_file

    from codec_models.engines.device_tick import DeviceTick, DeviceTickConfig
    from codec_models.teeth import PAPER as PAPER_TEETH
    from codec_models.teeth import Teeth
    from codec_models.upsampler import PAPER, Upsampler

    with tempfile.TemporaryDirectory(prefix="pinhole-paper-") as folder:
        upsampler, teeth = (Path(folder) / f"{stem}.safetensors" for stem in ("upsampler", "teeth"))
        torch.manual_seed(0)
        save_file(Upsampler(PAPER).state_dict(), upsampler)
        save_file(Teeth(PAPER_TEETH).state_dict(), teeth)
        for dtype, precision in ((torch.float16, "fp16"), (torch.bfloat16, "bf16")):
            config = DeviceTickConfig("cuda", dtype, (1, 2, 4), upsampler, PAPER, teeth, PAPER_TEETH)
            try:
                device = DeviceTick(4, config)
            except UserError as e:
                plan.missing.append(Missing(f"{name} {precision}", str(e)))
                continue
            for count in (1, 2, 4):
                ms = timed(together(device, count), plan.seconds)
                p50, p95 = np.percentile(ms, [50, 95]).tolist()
                plan.rows.append({
                    "codec": f"{WHOLE}, paper sizes, {device.backend} x{count}", "network": WHOLE, "sizes": "paper",
                    "weights": "random", "backend": device.backend, "precision": precision, "device": "cuda",
                    "batch": count, "runs": len(ms), "ms_p50": p50, "ms_p95": p95, "ticks_per_s": 1e3 * count / p50,
                })  # fmt: skip
                show.step(f"{name} {precision}")


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure ticks a second of every network on every runtime.")
    parser.add_argument("--backends", type=_backends, default=BACKENDS, help=f"some of {','.join(BACKENDS)} (all)")
    parser.add_argument("--seconds", type=float, default=90.0, help="to spend on measuring, about (90)")
    parser.add_argument("--threads", type=int, default=1, help="of a CPU (1)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(arguments)


def _backends(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    wrong = [name for name in names if name not in BACKENDS]
    if wrong:
        raise argparse.ArgumentTypeError(f"there is no backend {wrong[0]!r}: choose of {', '.join(BACKENDS)}")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if not 1 <= options.seconds <= MOST_SECONDS:
        raise UserError(f"--seconds {options.seconds:g}: choose 1 to {MOST_SECONDS}")
    if not 1 <= options.threads <= MOST_THREADS:
        raise UserError(f"--threads {options.threads}: choose 1 to {MOST_THREADS}")
    try:
        import torch

        from benchmarks.limits import Limits
    except ImportError:
        raise UserError("work and peaks are measured with torch: pip install -e '.[training]'") from None
    wanted = runtimes(options.backends)
    here = [r for r in wanted if _gpu() or not r.gpu]
    steps = sum(len(NETWORKS) + 2 + len(_sizes(r)) for r in here)
    for_calls = _CALLS_SHARE * options.seconds
    seconds = (options.seconds - for_calls) / max(steps, 1)
    plan = Plan(options.threads, seconds, max(LEAST_CALL_S, for_calls / (_TRIES * max(len(here), 1))))
    limits = Limits()
    with Progress(steps, "measurements") as show:
        for runtime in wanted:
            measure(runtime, plan, limits, show)
            gc.collect()
        # what an engine asks for does not outlast it
        torch.set_num_threads(options.threads)
        paper(plan, show)
    tell(plan, limits)
    if options.json is not None:
        how = settings(
            backends=list(options.backends), seconds=options.seconds, threads=options.threads, **peaks(plan, limits)
        )
        missing = [{"name": m.name, "reason": m.reason} for m in plan.missing]
        write_json(options.json, document([*plan.rows, *plan.calls], how, not_measured=missing))
    return 0


def _sizes(runtime: Runtime) -> Sequence[int]:
    return () if not runtime.together else GPU_BATCHES if runtime.gpu else CPU_BATCHES


def peaks(plan: Plan, limits: Limits) -> dict[str, Any]:
    """The machine's peaks that shares are of, as measured in this run."""
    used = sorted({("cpu" if r["device"] == "cpu" else "cuda", str(r["precision"])) for r in plan.rows})
    gpu = _gpu_settings() if any(device == "cuda" for device, _ in used) else {}
    return {
        "peak_gflops": {f"{device} {precision}": limits.peaks.gflops(device, precision) for device, precision in used},
        "peak_gbytes": {device: limits.peaks.gbytes(device) for device, _ in used},
        **gpu,
    }


def _gpu_settings() -> Mapping[str, Any]:
    import torch

    from codec_models.engines.tensorrt_engine import Gpu

    gpu = Gpu.of("cuda")
    return {"gpu": gpu.name, "capability": gpu.capability, "driver": gpu.driver, "cuda": torch.version.cuda}


def tell(plan: Plan, limits: Limits) -> None:
    """Print the tables, and what was not measured."""
    if plan.rows:
        print(table(plan.rows, COLUMNS))
        print()
    if plan.calls:
        print(table(plan.calls, CALL_COLUMNS))
        print()
    found = peaks(plan, limits)
    for name, value in found["peak_gflops"].items():
        print(f"peak {name}: {'not known' if value is None else f'{value:.0f} GFLOP/s'}")
    for name, value in found["peak_gbytes"].items():
        print(f"peak {name} copy: {value:.1f} GB/s")
    for m in plan.missing:
        print(f"{m.name}: not measured: {m.reason}")


if __name__ == "__main__":
    run_command(main)
