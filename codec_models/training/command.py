"""What the sub-commands of `python -m codec_models.training` do that need torch."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from ..errors import UserError
from ..upsampler import LIVE, PAPER, Upsampler
from .checkpoint import CHECKPOINT, claim_folder, load_weights
from .corpus import Corpus, most_varied, read_manifest
from .data import WindowSampler
from .evaluation import Evaluation
from .labels import Labels
from .progress import Progress
from .sync_expert import SyncRecipe, SyncSampler, train_sync
from .upsampler import Run, UpsamplerRecipe, train
from .warm_start import warm_start
from .world import World, join_world

_CPU_DEV_CLIPS = 12
"""Measured unless --dev-clips says otherwise: on a CPU all of them would take minutes."""


def run_upsampler(options: argparse.Namespace) -> int:
    """See `__main__`."""
    start = time.monotonic()
    if options.resume and options.init:
        raise UserError("--resume goes on from a checkpoint, --init starts from weights: give one of them")
    if options.resume and not options.resume.is_file():
        raise UserError(f"no such checkpoint: {options.resume}")
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    try:
        name = f"upsampler_{options.config}.safetensors"
        if world.first:
            claim_folder(options.out, [CHECKPOINT, name], options.resume is not None)
        torch.manual_seed(options.seed)
        network = Upsampler(LIVE if options.config == "live" else PAPER)
        if options.init:
            initialise(network, options.init)
        labels = Labels(options.labels, options.cache)
        corpus = load(options.clips, labels, world, options.max_clips)
        sampler = WindowSampler(corpus, seed=options.seed + 1000 * world.rank)
        evaluation = None
        if world.first and options.dev is not None:
            clips = options.dev_clips or (_CPU_DEV_CLIPS if world.device.type == "cpu" else None)
            evaluation = Evaluation(WindowSampler(load(options.dev, labels, world, clips, 0)), clips=clips)
        recipe = UpsamplerRecipe(
            minutes=options.minutes,
            of=options.of,
            batch=options.batch or (16 if world.device.type == "cpu" else 64),
            learning_rate=options.learning_rate,
            cooldown=options.cooldown,
            resolution=options.resolution,
            phase=options.phase,
            evaluate_minutes=options.evaluate_minutes,
            seed=options.seed,
            compile=options.compile,
        )
        if options.init:  # trained weights need no easy beginning
            recipe = dataclasses.replace(recipe, curriculum=())
        run = Run(options.out, options.config, options.resume, start)
        train(network, sampler, evaluation, recipe, world, run)
    finally:
        world.leave()
    return 0


def initialise(network: Upsampler, path: Path) -> None:
    """Fill a network from its own weights, or from those of the first prototype."""
    try:
        with safe_open(path, "pt") as file:
            prototype = "lm_low.weight" in file.keys()  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(f"no such weights file: {path}") from None
    except (SafetensorError, OSError) as e:
        raise UserError(f"{path} is not a safetensors file") from e
    if prototype:
        warm_start(network, path)
    else:
        load_weights(path, network)


def load(folder: Path, labels: Labels, world: World, most: int | None, stills: int = 1) -> Corpus:
    """The clips of a folder on this process's device; at most `most` of them, of as many people as possible."""
    progress = Progress(world.first)
    rows = most_varied(read_manifest(folder), most)
    corpus = Corpus(rows, labels, world.device, stills, lambda done, of: progress.show(f"reading clips: {done}/{of}"))
    progress.say(f"{folder}: {len(corpus.clips)} clips, {corpus.frames} frames")
    return corpus


def run_sync_expert(options: argparse.Namespace) -> int:
    """See `__main__`."""
    start = time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    claim_folder(options.out, ["sync_expert.safetensors"], False)
    labels = Labels(options.labels, options.cache)
    corpus = load(options.clips, labels, world, options.max_clips, 0)
    dev = load(options.dev, labels, world, options.dev_clips, 0) if options.dev is not None else None
    for voices in (corpus, *([] if dev is None else [dev])):
        if not SyncSampler(voices).clips:
            raise UserError("no clip has its own voice and a log-mel: give labels made with sound")
    left = max(0.05, options.minutes - (time.monotonic() - start) / 60)
    recipe = SyncRecipe(minutes=left, clips=max(2, (options.batch or 48) // 4), seed=options.seed)
    train_sync(corpus, dev, recipe, options.out)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "upsampler": run_upsampler,
    "sync-expert": run_sync_expert,
}
