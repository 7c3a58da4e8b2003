"""What `python -m codec_models.training identity` does."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ..errors import UserError
from .aligned_faces import AlignedFaces, IdentitySampler
from .checkpoint import claim_folder
from .compressed_faces import changes
from .corpus import most_varied, read_manifest
from .identity import WEIGHTS, Identity, IdentityRecipe, train_identity
from .labels import Labels
from .progress import Progress
from .verification import Verification, face_set, held_out, told, verify_all
from .world import join_world

FIGURES = "identity.json"


def run_identity(options: argparse.Namespace) -> int:
    """See `__main__`."""
    start = time.monotonic()
    if options.threads:
        torch.set_num_threads(options.threads)
    world, progress = join_world(options.device), Progress()
    if world.size > 1:
        raise UserError("identity is trained by one process: start it without torchrun")
    claim_folder(options.out, [WEIGHTS, FIGURES], False)
    torch.manual_seed(options.seed)
    labels = Labels(options.labels, options.cache)
    learned, kept = held_out(most_varied(read_manifest(options.clips), options.max_clips), options.held_out)

    def show(done: int, of: int) -> None:
        progress.show(f"reading clips: {done}/{of}")

    measured = {} if options.dev is None else {"dev": most_varied(read_manifest(options.dev), options.dev_clips)}
    if kept:
        measured["held out"] = kept
    if options.weights is not None:
        network = Identity.load(options.weights)
    else:
        pool = AlignedFaces(learned, labels, world.device, options.every, show)
        progress.say(f"{len(pool)} faces of {len(pool.people)} people to learn from")
        given = {k: v for k in ("batch", "learning_rate") if (v := getattr(options, k)) is not None}
        sets = {name: face_set(rows, labels, progress=show) for name, rows in measured.items()}
        left = max(0.01, options.minutes - (time.monotonic() - start) / 60)
        recipe = IdentityRecipe(minutes=left, **given)
        network = train_identity(IdentitySampler(pool, seed=options.seed), sets, recipe, options.out)
    made = changes(progress.say) if measured else {}  # slow to make, so only now
    figures = {}
    for name, rows in measured.items():
        faces = face_set(rows, labels, made, show)
        progress.say(f"{name}: {len(faces)} faces of {faces.people} people")
        figures[name] = verify_all(network, faces)
    report(figures, options.out)
    return 0


def report(figures: Mapping[str, Mapping[str, Verification]], out: Path) -> None:
    """Print the figures of every set and change and write them to OUT/identity.json."""
    for name, of_set in figures.items():
        for change, found in of_set.items():
            print(f"{name}, {change}: {told(found)}")
    plain = {name: {c: dataclasses.asdict(v) for c, v in of_set.items()} for name, of_set in figures.items()}
    (out / FIGURES).write_text(json.dumps(plain, indent=1) + "\n")
