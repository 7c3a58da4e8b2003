"""What identity stills are worth: rate against quality for the sender's still policy, on scenes of half a minute.

    python -m benchmarks.stills FOLDER [--sweeps A,B] [--scenes N] [--seconds S] [--fps 25|5] [--every N] [--link KBPS]
        [--json F] [--backend B] [--precision P]

FOLDER holds clips and their manifest; a scene is all that one person has in it, to and fro (`benchmarks/scenes.py`).
The chain is that of a call: the policy sees every tick that has a picture and sends stills; each is encoded, travels
alone at the rate of the link and is known to the receiver's reconstruction when its last byte is there, which chooses
among those it has. The reconstruction is the default one without the teeth stage, which changes a mouth and remembers
the pictures before, and without the fading from one still to the next.

Quality is that of one tick in --every from the third second on: until then, the first still may be on its way. Rates
are of the whole scene: `video` is faces and hints, `stills` is all stills spread over the scene; `10 s` and `10 min`
are what the stills of the first ten seconds cost spread over these, and those of the scene spread over ten minutes (a
person who does nothing new after the scene). `gain` is dB over the same with the first still alone for each kb/s that
the other stills take of the scene: what the face layer gives for its next kb/s is the sweep `face`. A star marks what
nothing in its sweep beats in both video + stills and PSNR.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import landmark_metrics, metrics
from benchmarks.clips import Clip
from benchmarks.ours import FaceStream, Fps, code_faces
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from benchmarks.sampled_engine import SampledEngine
from benchmarks.scenes import people, scene
from codec_models.bitstream.face import DEFAULT, FaceConfig, area_8x8
from codec_models.bitstream.still import MAX_BYTES, IdentityStill, decode_still, encode_still
from codec_models.bitstream.timing import PICTURE, TICKS_PER_SECOND, kbps
from codec_models.engines.choice import BACKENDS, PRECISIONS, choose
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.interpolated import Interpolated
from codec_models.network import NetworkReconstructor
from codec_models.reconstruction import LOOKAHEAD
from codec_models.slow_stream import SlowStream
from codec_models.still_choice import DEFAULT_CHOICE, ChoiceConfig
from sender.still_policy import StillConfig, StillPolicy, View, sharpness_of

ENCODING_S = 0.3
LINK_KBPS = 50.0
SKIPPED_S = 2.0
NEVER = math.inf
OFTEN = 60
"""Stills a minute, where the gap alone shall bound them."""


@dataclass(frozen=True, slots=True)
class Setting:
    """max_bytes: of a still; quality: of the face layer; at_once: stills that the receiver draws from, 1 to 3; choice:
    how it chooses them.
    """

    name: str
    policy: StillConfig
    max_bytes: int = MAX_BYTES
    quality: int = DEFAULT
    at_once: int = 1
    choice: ChoiceConfig = DEFAULT_CHOICE


FIRST = "first only"


def _with(**changes: float) -> StillConfig:
    return dataclasses.replace(StillConfig(), **changes)  # type: ignore[arg-type]


def _limit(name: str, values: Iterable[float], **changes: float) -> list[Setting]:
    """One limit changed, beside the first still alone."""
    alone = [Setting(FIRST, _with(gap=NEVER))]
    return alone + [Setting(f"{name} {v:g}", _with(**{**changes, name: v})) for v in values]


SWEEPS: dict[str, list[Setting]] = {
    "gap": _limit("gap", (30, 20, 15, 10, 7, 5, 3), per_minute=OFTEN),
    "per_minute": _limit("per_minute", (1, 2, 3, 4, 6)),
    "light": _limit("light", (8, 12, 14, 16, 20, 26, NEVER)),
    "pose": _limit("pose", (0.08, 0.1, 0.15, 0.25, NEVER)),
    "shift": _limit("shift", (0.1, 0.16, 0.25, NEVER)),
    "scale": _limit("scale", (1.15, 1.3, 1.5, NEVER)),
    "hold": _limit("hold", (0.0, 0.4, 1, 2)),
    "size": [
        Setting(f"{size} B{name}", _with(**changes), size)
        for name, changes in ((f", {FIRST}", {"gap": NEVER}), ("", {}))
        for size in (2500, 3500, 5000, 8000)
    ],
    "at-once": [Setting(f"{n} at once", _with(gap=4.0, light=8.0, per_minute=OFTEN), at_once=n) for n in (1, 2, 3)],
    "choice": [
        Setting(f"gap {gap:g}, turn {turn:g}, clearly {clearly:g}", policy, choice=ChoiceConfig(turn, clearly))
        for gap, policy in ((10, StillConfig()), (3, _with(gap=3.0, per_minute=OFTEN)))
        for turn, clearly in ((0.0, 1.0), (0.0, 0.6), (0.3, 1.0), (0.3, 0.8), (0.3, 0.6), (1.0, 0.6))
    ],
    "face": [Setting(f"quality {q}", _with(gap=NEVER), quality=q) for q in (3, 4, 5, 6, 8, 10, 12)],
}
COLUMNS = {
    "codec": "setting",
    "kbps": "video|.2f",
    "still_kbps": "stills|.2f",
    "still_kbps_10s": "10 s|.2f",
    "still_kbps_10min": "10 min|.3f",
    "stills": "number|.1f",
    "changes": "changes|.1f",
    "psnr": "PSNR|.2f",
    "psnr_low": "worst|.2f",
    "ssim": "SSIM|.4f",
    "lmd": "LMD|.4f",
    "gain": "gain|.2f",
    "best": "",
}
DEFINITIONS = metrics.DEFINITIONS | landmark_metrics.DEFINITIONS
DEFINITIONS |= {
    "psnr_low": "mean PSNR of the worst tenth of the ticks",
    "changes": "how often the receiver changes the still that it draws from",
    "gain": "dB over the first still alone for each kb/s of other stills in the scene",
}


@dataclass(frozen=True, slots=True)
class SentStill:
    """tick: of its picture; data: as encoded; arrives: the tick that it is there for."""

    tick: int
    data: bytes
    arrives: int


@dataclass
class Scene:
    """A clip with what all settings share; what is made once is kept."""

    clip: Clip
    fps: Fps
    _views: list[View] = field(default_factory=list)
    _streams: dict[int, FaceStream] = field(default_factory=dict)
    _encoded: dict[tuple[int, int], bytes] = field(default_factory=dict)

    @property
    def every(self) -> int:
        """Ticks from picture to picture."""
        return TICKS_PER_SECOND // self.fps

    def stream(self, quality: int) -> FaceStream:
        if quality not in self._streams:
            self._streams[quality] = code_faces(self.clip, FaceConfig(fps=self.fps, quality=quality))
        return self._streams[quality]

    def views(self) -> list[View]:
        """Of the ticks that have a picture."""
        if not self._views:
            for k in range(0, len(self.clip.frames), self.every):
                frame = np.ascontiguousarray(self.clip.frames[k])
                points, hints = self.clip.points_at(k), self.clip.hints_at(k)
                self._views.append(View(area_8x8(frame), sharpness_of(frame), points, hints))
        return self._views

    def sent(self, setting: Setting, link_kbps: float) -> list[SentStill]:
        """What the policy sends in this scene, each as soon as it is encoded and the one before it has left."""
        policy, sent, free = StillPolicy(setting.policy), [], 0.0
        for k, view in enumerate(self.views()):
            tick = k * self.every
            # the sender looks at a tick when it is over
            now = (tick + 1) / TICKS_PER_SECOND
            if policy.decide(now, view) is None:
                continue
            data = self._still(tick, setting.max_bytes)
            free = max(now + ENCODING_S, free) + len(data) * 8 / (1000 * link_kbps)
            sent.append(SentStill(tick, data, math.ceil(free * TICKS_PER_SECOND)))
        return sent

    def _still(self, tick: int, max_bytes: int) -> bytes:
        if (tick, max_bytes) not in self._encoded:
            still = IdentityStill(np.ascontiguousarray(self.clip.frames[tick]), self.clip.points_at(tick))
            self._encoded[tick, max_bytes] = encode_still(still, max_bytes)
        return self._encoded[tick, max_bytes]


def run(scene: Scene, setting: Setting, engine: SampledEngine, link_kbps: float) -> Row:
    """The figures of a setting on a scene. The engine's memory must be of this scene."""
    stream, sent = scene.stream(setting.quality), scene.sent(setting, link_kbps)
    engine.at, engine.stream = None, (scene.fps, setting.quality)
    # what `reconstructor` makes, but for the teeth, the number of stills and what needs the picture before
    choice = dataclasses.replace(setting.choice, fade=0)
    network = NetworkReconstructor(engine, setting.at_once, teeth=False, choice=choice)
    model = Interpolated(network, SlowStream(engine, LOOKAHEAD))
    model.fps = scene.fps
    first = round(SKIPPED_S * TICKS_PER_SECOND)
    shown: dict[int, NDArray[np.uint8]] = {}
    coming = list(sent)
    engine.used.clear()
    for k, (tick, voice) in enumerate(zip(stream.ticks, scene.clip.voice, strict=True)):
        while coming and coming[0].arrives <= k:
            model.set_identity(decode_still(coming.pop(0).data))
        engine.at = k
        picture = model.tick(tick, np.ascontiguousarray(voice))
        if k >= first and engine.sampled(k):
            shown[k] = picture
    engine.at = None
    row: Row = {"codec": setting.name, "clip": scene.clip.name, "frames": len(scene.clip.frames)}
    row["changes"] = sum(a != b for a, b in pairwise(engine.used))
    return row | _rates(scene, stream, sent) | _quality(scene.clip, shown)


def _rates(scene: Scene, stream: FaceStream, sent: Sequence[SentStill]) -> Row:
    early = sum(len(s.data) for s in sent if s.tick < 10 * TICKS_PER_SECOND)
    total = sum(len(s.data) for s in sent)
    return {
        "kbps": kbps(stream.total_bytes, scene.clip.seconds),
        "still_kbps": kbps(total, scene.clip.seconds),
        "still_kbps_10s": kbps(early, 10),
        "still_kbps_10min": kbps(total, 600),
        "stills": len(sent),
    }


def _quality(clip: Clip, shown: dict[int, NDArray[np.uint8]]) -> Row:
    """Of the ticks that were drawn."""
    ticks = sorted(shown)
    drawn, truth = np.stack([shown[k] for k in ticks]), np.ascontiguousarray(clip.frames[ticks])
    each = np.array([metrics.psnr(a, b) for a, b in zip(truth, drawn, strict=True)])
    row: Row = {
        "psnr": float(each.mean()),
        "psnr_low": float(np.sort(each)[: max(len(each) // 10, 1)].mean()),
        "ssim": metrics.ssim(truth, drawn),
    }
    found = landmark_metrics.track(drawn)
    if found is not None:
        compared = landmark_metrics.compare(clip.points[ticks] * PICTURE, found)
        row |= {k: v for k, v in compared.items() if k in ("lmd", "lmd_lips", "face_found")}
    return row


def add_gains(mean: dict[str, Row]) -> None:
    """`gain` and `best` for the settings of one sweep, in place."""
    if (alone := mean.get(FIRST)) is not None:
        for row in mean.values():
            more = row["still_kbps"] - alone["still_kbps"]
            if more > 0:
                row["gain"] = (row["psnr"] - alone["psnr"]) / more
    for name in pareto({name: (r["kbps"] + r["still_kbps"], r["psnr"]) for name, r in mean.items()}):
        mean[name]["best"] = "*"


def pareto(points: dict[str, tuple[float, float]]) -> list[str]:
    """Names of those (rate, quality) that no other one beats: as little rate or less, and better."""
    best, names = -math.inf, []
    for name, (_, quality) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if quality > best:
            best = quality
            names.append(name)
    return names


@dataclass
class Sweeps:
    """Runs sweeps on scenes. rows: sweep -> rows of all scenes."""

    names: Sequence[str]
    engine: SampledEngine
    link_kbps: float
    rows: dict[str, list[Row]] = field(default_factory=dict)

    def run(self, scene: Scene, bar: Progress) -> None:
        self.engine.forget()
        # settings that send the same stills give the same
        known: dict[tuple[object, ...], Row] = {}
        for sweep in self.names:
            for setting in SWEEPS[sweep]:
                sent = scene.sent(setting, self.link_kbps)
                same = setting.quality, setting.at_once, setting.choice, *((s.tick, len(s.data)) for s in sent)
                if same not in known:
                    known[same] = run(scene, setting, self.engine, self.link_kbps)
                self.rows.setdefault(sweep, []).append(known[same] | {"codec": setting.name, "sweep": sweep})
                bar.step(f"{sweep}, {setting.name}  {scene.clip.name}")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure what identity stills are worth, and what decides when they are sent.")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="clips with manifest.json")
    parser.add_argument("--sweeps", default="gap", help=f"of {', '.join(SWEEPS)} (default: gap)")
    parser.add_argument("--scenes", type=int, default=6, help="people, those with the most clips (default: 6)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a scene (default: 30)")
    parser.add_argument("--fps", type=int, choices=(25, 5), default=25, help="of the 8x8 pictures (default: 25)")
    parser.add_argument("--every", type=int, default=10, help="draw one tick in so many (default: 10)")
    parser.add_argument("--link", type=float, default=LINK_KBPS, help="kb/s that a still travels at (default: 50)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="runtime of the networks")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the runtime (default: its quickest)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    names = list(dict.fromkeys(options.sweeps.split(",")))
    for name in names:
        if name not in SWEEPS:
            raise UserError(f"no sweep called {name}: choose among {', '.join(SWEEPS)}")
    if min(options.scenes, options.every) < 1 or options.link <= 0 or options.seconds <= SKIPPED_S:
        raise UserError(f"--scenes and --every are 1 or more, --link above 0, --seconds above {SKIPPED_S:g}")
    if "at-once" in names and options.backend != "torch":
        raise UserError("several stills at once are drawn by torch alone: --backend torch")
    who = people(options.folder, options.scenes)
    engine = SampledEngine(choose(options.backend, precision=options.precision, threads=1), options.every)
    sweeps = Sweeps(names, engine, options.link)
    with Progress(len(who) * sum(len(SWEEPS[name]) for name in names), "measuring") as bar:
        for person in who:
            sweeps.run(Scene(scene(person, options.seconds), options.fps), bar)
    how = settings(
        reconstruction=f"{engine.backend} on {engine.device}, without the teeth stage",
        scenes=f"{len(who)} people, {options.seconds:g} s each, to and fro; one tick in {options.every} measured",
        stream=f"full profile, {options.fps} fps, hints and voice on",
        stills=f"{MAX_BYTES} B unless named otherwise, encoded in {ENCODING_S} s, sent at {options.link:g} kb/s",
        metrics=DEFINITIONS,
    )
    content = document([row for rows in sweeps.rows.values() for row in rows], how)
    del content["mean"]  # of other things in every sweep
    content["sweeps"] = {}
    print(f"mean over {len(who)} scenes, {how['stream']}, {engine.backend}; stills {how['stills']}")
    for sweep, rows in sweeps.rows.items():
        mean = document(rows, {})["mean"]
        add_gains(mean)
        content["sweeps"][sweep] = mean
        columns = {k: head for k, head in COLUMNS.items() if k == "codec" or any(k in row for row in mean.values())}
        print(f"\n{sweep}\n{table([{'codec': name, **row} for name, row in mean.items()], columns)}")
    if options.json is not None:
        write_json(options.json, content)
        print(f"figures: {options.json}")
    return 0


if __name__ == "__main__":
    run_command(main)
