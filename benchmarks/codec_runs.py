"""What the benchmarks that compare codecs share: names, choice, runs on a clip, and the common command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codec_models.engines.choice import BACKENDS, PRECISIONS, choose
from codec_models.engines.engine import Engine
from codec_models.errors import UserError
from codec_models.reconstruction import NAMES as RECONSTRUCTIONS
from codec_models.reconstruction import Reconstructor, reconstructor

from . import ours
from .anchors import ANCHORS, EVERY_ANCHOR
from .clips import Clip
from .ffmpeg import ffmpeg_path
from .ours import OurCodec, Variant
from .report import Row

OURS = (*ours.NAMES, *ours.VARIANTS, *ours.BASELINES)
CODECS = (*OURS, *ANCHORS)


@dataclass
class CodecRuns:
    """Runs codecs on clips and keeps the settings of each.

    reconstructor: makes the reconstruction of our own codecs.
    """

    reconstructor: Callable[[Variant], Reconstructor]
    settings: dict[str, str] = field(default_factory=dict)

    def clip(self, clip: Clip) -> OurCodec:
        """Our codec on a clip, for `run`."""
        return OurCodec(clip, reconstructor=self.reconstructor)

    def run(self, codec: str, mine: OurCodec) -> tuple[NDArray[np.uint8], Row]:
        """The decoded frames (N, 256, 256, 3) and a row with names and rates. codec: an anchor or one of ours."""
        clip = mine.clip
        row: Row = {"codec": codec, "clip": clip.name, "frames": len(clip.frames)}
        if ours.is_ours(codec):
            frames, figures = mine.run(codec)
            row.update(figures)
            self.settings.setdefault(codec, mine.settings(codec))
            return frames, row
        anchor = EVERY_ANCHOR[codec]
        coded = anchor.encode(clip.frames)
        row.update(ours.rate(coded.total_bytes, len(clip.frames)))
        if len(coded.sizes) > 1:
            # for a comparison with ours without the still: what follows the first, intra-coded picture
            row["kbps_after_first"] = ours.rate(sum(coded.sizes[1:]), len(clip.frames) - 1)["kbps"]
            row.update(ours.spread(row["kbps_after_first"], coded.sizes[0]))
        self.settings.setdefault(codec, f"{coded.version}: {anchor.settings}")
        return coded.frames, row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all comparisons have."""
    parser.add_argument("clips", metavar="CLIP", nargs="*", help="media files (default: the built-in source)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--codecs", type=lambda text: text.split(","), help=f"some of: {', '.join(CODECS)}")
    parser.add_argument("--frames", type=int, help="frames of each clip at most")
    parser.add_argument("--no-vmaf", action="store_true", help="leave VMAF out, the slowest measure")
    parser.add_argument("--reconstruction", choices=RECONSTRUCTIONS, default="auto", help="default: %(default)s")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="runtime of the network (the quickest)")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the network (the best that is quick here)")


def check(options: argparse.Namespace) -> None:
    """Raises UserError on values that cannot be, before any work is done."""
    if options.frames is not None and options.frames < 1:
        raise UserError("--frames must be 1 or more")
    for clip in options.clips:
        if not Path(clip).is_file():
            raise UserError(f"no file at {clip}: check the path")


def vmaf_wanted(options: argparse.Namespace) -> bool:
    """Whether VMAF is to be measured; says on stderr when it cannot be."""
    if not options.no_vmaf and ffmpeg_path() is None:
        print("without VMAF: pip install imageio-ffmpeg brings it", file=sys.stderr)
    return not options.no_vmaf and ffmpeg_path() is not None


def maker(options: argparse.Namespace) -> Callable[[Variant], Reconstructor]:
    """Makes the reconstructions that were asked for, all on one engine; says only once why it is not the network.
    Raises UserError where the network or a runtime is asked for by name and cannot run.
    """
    say = cache(partial(print, file=sys.stderr))
    engine: Engine | None = None
    if options.reconstruction != "still-colour":
        try:
            engine = choose(options.backend, say, options.precision)
        except UserError:
            if options.reconstruction == "network" or options.backend != "auto":
                raise

    def make(variant: Variant) -> Reconstructor:
        return reconstructor(options.reconstruction, say, variant.lookahead, variant.teeth, engine=engine)

    return make


def chosen(names: Sequence[str] | None, usual: Sequence[str] = CODECS) -> tuple[list[str], dict[str, str]]:
    """The codecs to run (`usual` without names), and those left out with the reason. Raises UserError on a name that
    does not exist, and where a codec that was asked for by name cannot run.
    """
    wanted = [n.strip() for n in names if n.strip()] if names is not None else list(usual)
    unknown = [n for n in wanted if n not in EVERY_ANCHOR and not ours.is_ours(n)]
    if unknown or not wanted:
        more = "other mixtures of what ours can be, and the points of benchmarks.curve"
        known = f"{', '.join(CODECS)}, {more}"
        raise UserError(f"no codec called {', '.join(unknown) or 'that'}; known are {known}")
    anchors = {n: EVERY_ANCHOR[n] for n in wanted if n in EVERY_ANCHOR}
    missing = {n: why for n, anchor in anchors.items() if (why := anchor.missing()) is not None}
    if missing and names is not None:
        name, why = next(iter(missing.items()))
        raise UserError(f"{name} cannot run: {why}")
    every = dict.fromkeys((*CODECS, *wanted))
    return [n for n in every if n in wanted and n not in missing], missing
