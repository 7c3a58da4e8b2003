"""What the sub-commands of `python -m codec_models.training` do that need torch."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ..errors import UserError
from ..face_points import FacePoints
from ..interpolation import Interpolation
from ..teeth import LIVE as LIVE_TEETH
from ..teeth import PAPER as PAPER_TEETH
from ..teeth import Teeth
from ..upsampler import CONFIGS, LIVE, PAPER, Upsampler, load_upsampler
from .checkpoint import CHECKPOINT, claim_folder, load_checkpoint, load_weights
from .corpus import Corpus, most_varied, read_manifest
from .data import WindowConfig, WindowSampler
from .distillation import load_teacher
from .evaluation import Evaluation
from .face_views import FacePool, FaceSampler
from .finding import WEIGHTS as FINDING_WEIGHTS
from .finding import FindingRecipe, prepare, train_finding
from .identity_command import run_identity
from .interpolation import WEIGHTS as INTERPOLATION_WEIGHTS
from .interpolation import InterpolationRecipe, train_interpolation
from .keyframes import StretchConfig, StretchSampler
from .labels import Labels
from .landmarks import LandmarkRecipe, train_landmarks
from .losses import LossWeights
from .mix import mix
from .mouths import MouthConfig, Mouths, harvest, harvest_pairs
from .progress import Progress
from .sync_expert import SyncExpert, SyncRecipe, SyncSampler, train_sync
from .sync_loss import SyncLoss
from .teeth import TeethRecipe, TeethTraining, TeethWeights, train_teeth
from .upsampler import Run, UpsamplerRecipe, train
from .widen import start_from
from .world import World, join_world

_LANDMARK_SHARE = 0.2
"""Of the time, for the landmark head, where the upsampler starts from nothing."""
_CPU_DEV_CLIPS = 12
"""Measured unless --dev-clips says otherwise: on a CPU all of them would take minutes."""


def run_upsampler(options: argparse.Namespace) -> int:
    """See `__main__`."""
    start = time.monotonic()
    if options.resume and options.init:
        raise UserError("--resume goes on from a checkpoint, --init starts from weights: give one of them")
    if options.resume and not options.resume.is_file():
        raise UserError(f"no such checkpoint: {options.resume}")
    if options.distil is not None and not options.teacher:
        raise UserError("--distil is the weight of a teacher: give one with --teacher")
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    try:
        if world.size > 1 and not (options.init or options.resume):
            raise UserError("several processes: train the landmark head first (landmarks), then give it as --init")
        name = f"upsampler_{options.config}.safetensors"
        if world.first:
            claim_folder(options.out, [CHECKPOINT, name], options.resume is not None)
        teacher = load_teacher(options.teacher, world.device) if options.teacher else None
        torch.manual_seed(options.seed)
        network = Upsampler(CONFIGS[options.config])
        if options.init and (smaller := start_from(options.init, network)):
            Progress(world.first).say(f"{options.init}: widened from {smaller}")
        network.to(world.device)
        labels = Labels(options.labels, options.cache)
        corpus = load(options.clips, labels, world, options.max_clips)
        sampler = WindowSampler(corpus, seed=options.seed + 1000 * world.rank)
        if not (options.init or options.resume):
            first = LandmarkRecipe(minutes=_LANDMARK_SHARE * options.minutes)
            train_landmarks(network, sampler, None, first, options.out, options.config)
        network.requires_grad_(True).landmarks.requires_grad_(False).eval()
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
        if options.distil is not None:
            recipe = dataclasses.replace(recipe, weights=LossWeights(distil=options.distil))
        if options.init:  # trained weights need no easy beginning
            recipe = dataclasses.replace(recipe, curriculum=())
        run = Run(options.out, options.config, options.resume, start)
        sync = None
        if options.sync_expert:
            sync = SyncLoss(SyncExpert.load(options.sync_expert), corpus)
        train(network, sampler, evaluation, recipe, world, run, sync, teacher)
    finally:
        world.leave()
    return 0


def run_landmarks(options: argparse.Namespace) -> int:
    """See `__main__`."""
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    name = f"upsampler_{options.config}.safetensors"
    claim_folder(options.out, [name], False)
    torch.manual_seed(options.seed)
    network = Upsampler(LIVE if options.config == "live" else PAPER).to(world.device)
    if options.init:
        load_weights(options.init, network)
    labels = Labels(options.labels, options.cache)
    corpus = load(options.clips, labels, world, options.max_clips, 0, pictures=False)
    dev = None
    if options.dev is not None:
        dev = WindowSampler(load(options.dev, labels, world, options.dev_clips, 0, pictures=False))
    recipe = LandmarkRecipe(
        minutes=options.minutes,
        batch=options.batch or 256,
        learning_rate=options.learning_rate or 1.5e-3,
        unhinted_mouth=8.0 if options.rough else 0.0,
        rough=options.rough,
    )
    # One still: several would each be learned on in turn, and each is as good as the next.
    hinted = 0.35 if options.rough else 0.5
    config = WindowConfig(one_still=1.0, faceless=0.0, hints=hinted, voice=0.85)
    sampler = WindowSampler(corpus, config, options.seed)
    train_landmarks(network, sampler, dev, recipe, options.out, options.config)
    return 0


def load(
    folder: Path, labels: Labels, world: World, most: int | None, stills: int = 1, pictures: bool = True
) -> Corpus:
    """The clips of a folder on this process's device; at most `most` of them, of as many people as possible."""
    progress = Progress(world.first)
    rows = most_varied(read_manifest(folder), most)

    def show(done: int, of: int) -> None:
        progress.show(f"reading clips: {done}/{of}")

    corpus = Corpus(rows, labels, world.device, stills, pictures, show)
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


def run_interpolation(options: argparse.Namespace) -> int:
    """See `__main__`."""
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    claim_folder(options.out, [INTERPOLATION_WEIGHTS], False)
    torch.manual_seed(options.seed)
    network = Interpolation().to(world.device)
    if options.init:
        load_weights(options.init, network)
    labels = Labels(options.labels, options.cache)
    progress = Progress(world.first)

    def show(done: int, of: int) -> None:
        progress.show(f"coding clips: {done}/{of}")

    def sampler(folder: Path, most: int | None, config: StretchConfig, seed: int) -> StretchSampler:
        corpus = load(folder, labels, world, most, 0, pictures=False)
        return StretchSampler(corpus, config, seed, show)

    training = sampler(options.clips, options.max_clips, StretchConfig(), options.seed)
    dev = None
    if options.dev is not None:
        dev = sampler(options.dev, options.dev_clips, StretchConfig(rounds=1), 0)
    recipe = InterpolationRecipe(minutes=options.minutes)
    recipe = dataclasses.replace(
        recipe,
        batch=options.batch or recipe.batch,
        learning_rate=options.learning_rate or recipe.learning_rate,
    )
    train_interpolation(network, training, dev, recipe, options.out)
    return 0


def run_teeth(options: argparse.Namespace) -> int:
    """See `__main__`."""
    start = time.monotonic()
    if options.resume and options.init:
        raise UserError("--resume goes on from a checkpoint, --init starts from weights: give one of them")
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    state = load_checkpoint(options.resume, world.device) if options.resume else None
    claim_folder(options.out, [CHECKPOINT, f"teeth_{options.config}.safetensors"], state is not None)
    torch.manual_seed(options.seed)
    network = Teeth(LIVE_TEETH if options.config == "live" else PAPER_TEETH).to(world.device)
    if options.init:
        load_weights(options.init, network)
    upsampler = load_upsampler(options.upsampler).to(world.device)
    pool, dev = _mouths(options, upsampler, world)
    weights = {k: v for k in ("energy", "adversarial") if (v := getattr(options, k)) is not None}
    given = {k: v for k in ("batch", "learning_rate") if (v := getattr(options, k)) is not None}
    left = max(0.01, options.minutes - (time.monotonic() - start) / 60)
    recipe = TeethRecipe(
        minutes=left + (0.0 if state is None else float(state.get("seconds", 0.0)) / 60),
        evaluate_minutes=options.evaluate_minutes,
        seed=options.seed,
        weights=TeethWeights(**weights),
        **given,
    )
    training = TeethTraining(network, pool, upsampler.still, recipe, world.device)
    if state is not None:
        training.load_state(state)
    train_teeth(training, dev, options.out, options.config)
    return 0


def _mouths(options: argparse.Namespace, upsampler: Upsampler, world: World) -> tuple[Mouths, Mouths | None]:
    """Pools to learn from and to measure on, from their files or drawn now and kept."""
    path = options.pool or options.out / "mouths.npz"
    progress, labels = Progress(world.first), Labels(options.labels, options.cache)
    if path.is_file():
        pool = Mouths.load(path)
    else:
        config = MouthConfig() if options.samples is None else MouthConfig(samples=options.samples)
        rows = most_varied(read_manifest(options.clips), options.max_clips)

        def show(done: int, of: int) -> None:
            progress.show(f"drawing mouths: {done}/{of}")

        pool = harvest(upsampler, rows, labels, config, options.seed, progress=show)
        pool.save(path)
    progress.say(f"{path}: {len(pool)} mouths")
    if options.dev is None:
        return pool, None
    dev_path = path.with_stem(path.stem + "_dev")
    if dev_path.is_file():
        return pool, Mouths.load(dev_path)
    dev = harvest_pairs(upsampler, load(options.dev, labels, world, options.dev_clips, 0))
    dev.save(dev_path)
    return pool, dev


def run_face_points(options: argparse.Namespace) -> int:
    """See `__main__`."""
    start = time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    world = join_world(options.device)
    claim_folder(options.out, [FINDING_WEIGHTS], False)
    torch.manual_seed(options.seed)
    labels = Labels(options.labels, options.cache)
    progress = Progress(world.first)

    def show(done: int, of: int) -> None:
        progress.show(f"reading clips: {done}/{of}")

    def pool(folder: Path, most: int | None, every: int, recompressed: bool) -> FacePool:
        rows = most_varied(read_manifest(folder), most)
        return FacePool(rows, labels, world.device, every, recompressed, show)

    training = pool(options.clips, options.max_clips, options.every, True)
    dev = None if options.dev is None else pool(options.dev, options.dev_clips, 4, False)
    progress.say(f"{len(training)} frames of {len(training.clips)} clips")
    network = FacePoints().to(world.device)
    if options.init:
        load_weights(options.init, network)
    else:
        prepare(network, training)
    recipe = FindingRecipe(minutes=max(0.01, options.minutes - (time.monotonic() - start) / 60))
    given = {k: v for k in ("batch", "learning_rate") if (v := getattr(options, k)) is not None}
    recipe = dataclasses.replace(recipe, **given)
    train_finding(network, FaceSampler(training, seed=options.seed), dev, recipe, options.out)
    return 0


def run_calibrate(options: argparse.Namespace) -> int:
    """See `__main__`."""
    try:
        from .calibration import calibrate
    except ImportError as e:
        raise UserError(f"calibrating needs {e.name}: pip install -e '.[dev]'") from None
    world = join_world("cpu")
    corpus = load(options.clips, Labels(options.labels, options.cache), world, options.max_clips)
    calibrate(WindowSampler(corpus, seed=options.seed), options.samples, options.folder)
    return 0


def run_mix(options: argparse.Namespace) -> int:
    """See `__main__`."""
    mix(options.start, options.end, options.share, options.out)
    print(f"{options.out}: {options.share:g} of the way from {options.start} to {options.end}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "upsampler": run_upsampler,
    "landmarks": run_landmarks,
    "interpolation": run_interpolation,
    "sync-expert": run_sync_expert,
    "teeth": run_teeth,
    "face-points": run_face_points,
    "identity": run_identity,
    "calibrate": run_calibrate,
    "mix": run_mix,
}
