"""What the upsampler draws when something that it is given is made exact, better, or left out; and what is drawn
without it. Each row of `ABLATIONS` changes one thing from "as it is", which is one still, hints and voice as a receiver
has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from codec_models.bitstream.face import area_8x8
from codec_models.bitstream.still import IdentityStill
from codec_models.bitstream.timing import PICTURE
from codec_models.decoder import Drawn
from codec_models.upsampler import IdentityFeatures, Upsampler

from .loss_cases import Case, Given, unit
from .loss_regions import FACE, person, regions

_BATCH = 4
"""Ticks that are drawn together: more of them only take memory."""


@dataclass(frozen=True, slots=True)
class Made:
    """pictures (B, 3, 256, 256) in about [-1, 1]; points (B, 110, 2) in [-1, 1], None where none are predicted. Of the
    network: warped, the aligned still alone, and unpulled, what the decoder made before colour consistency.
    """

    pictures: Tensor
    points: Tensor | None = None
    warped: Tensor | None = None
    unpulled: Tensor | None = None

    @property
    def shown(self) -> NDArray[np.uint8]:
        """(B, 256, 256, 3) as the receiver rounds them."""
        levels = self.pictures.mul(127.5).add(128.0).clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(levels.permute(0, 2, 3, 1).numpy())


class Painter:
    """The network on a case. What several rows need is made once."""

    def __init__(self, model: Upsampler, case: Case) -> None:
        self.model, self.case = model, case

    @cached_property
    def still(self) -> IdentityFeatures:
        return self.identity([self.case.still(self.case.first)])

    @cached_property
    def usual(self) -> Made:
        return self.draw(self.case.decoded, self.still)

    @cached_property
    def true_points(self) -> Tensor:
        return torch.from_numpy(self.case.points) * 2 - 1

    @cached_property
    def near(self) -> IdentityFeatures:
        """A still for every tick: the candidate nearest in pose."""
        return self.each([self.case.still(t) for t in self.case.nearest()])

    @cached_property
    def flow(self) -> Tensor:
        """(B, 2, 256, 256) in [-1, 1] units: where in the still, by optical flow between the true pictures."""
        still = _grey(self.case.clip.frames[self.case.first])
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        start: Any = None
        flows = [search.calc(_grey(frame), still, start) for frame in self.case.frames]
        return torch.from_numpy(np.stack(flows).astype(np.float32)).permute(0, 3, 1, 2) * (2 / PICTURE)

    @cached_property
    def outside_face(self) -> Tensor:
        """(B, 1, 256, 256): 1 where the face is not."""
        first = self.case.clip.points[self.case.first]
        masks = [regions(points, first) for points in self.case.points]
        outside = np.stack([~np.any([m[name] for name in FACE], 0) for m in masks])
        return torch.from_numpy(outside.astype(np.float32))[:, None]

    @torch.inference_mode()
    def identity(self, stills: Sequence[IdentityStill], points: bool = True) -> IdentityFeatures:
        """Stills that are used together."""
        pictures = unit(np.stack([s.picture for s in stills]))[None]
        low = unit(np.stack([area_8x8(s.picture) for s in stills]))[None]
        marks = [s.points for s in stills if s.points is not None]
        given = torch.from_numpy(np.stack(marks))[None] * 2 - 1 if points else None
        return self.model.encode_stills(pictures, low, given).kept()

    def each(self, stills: Sequence[IdentityStill]) -> IdentityFeatures:
        """One still for each tick."""
        made = {id(s): self.identity([s]).tensors() for s in {id(s): s for s in stills}.values()}
        return IdentityFeatures(*(torch.cat(t) for t in zip(*(made[id(s)] for s in stills), strict=True)))

    @torch.inference_mode()
    def draw(
        self,
        given: Given,
        identity: IdentityFeatures,
        points: Tensor | None = None,
        flow: Tensor | None = None,
        where: Tensor | None = None,
        refined: bool = True,
    ) -> Made:
        """identity: of all ticks or one of each. points (B, 110, 2) and flow (B, 2, n, n) in [-1, 1] take the place of
        the predicted landmarks and of the motion that follows from landmarks; the flow in the share `where`
        (B, 1, n, n) alone, None for everywhere. refined: whether the decoder may correct the motion.
        """
        parts = []
        for k in range(0, len(given.low), _BATCH):
            now = slice(k, k + _BATCH)
            inputs = given.low[now], given.mel[now], given.hints[now], given.has[now]
            some = IdentityFeatures(*(_part(t, now, len(inputs[0])) for t in identity.tensors()))
            with ExitStack() as told:
                if points is not None:
                    told.enter_context(_told(self.model.landmarks, _instead(points[now])))
                if flow is not None:
                    share = torch.ones(1, 1, PICTURE, PICTURE) if where is None else where[now]
                    told.enter_context(_told(self.model.sparse, _instead_of_motion(flow[now], share)))
                if not refined:
                    for step in (self.model.decoder.flow, self.model.decoder.still_flow):
                        told.enter_context(_told(step, lambda inputs, output: torch.zeros_like(output)))
                drawn: list[Drawn] = []
                told.enter_context(_told(self.model.decoder, _listed(drawn)))
                out = self.model(some, *inputs, coarse=False)
            parts.append((out.picture, out.points, out.warped, drawn[0].picture))
        return Made(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def pulled(self, pictures: Tensor) -> Made:
        """Pictures whose 8x8 average is pulled to the received one, as the network's is."""
        return Made(self.model.consistent(pictures, self.case.decoded.low[:, -1]))

    def own(self, coded: bool = True) -> Tensor:
        """The still for every tick, as it is."""
        picture = self.case.still(self.case.first, coded).picture
        return unit(picture[None]).expand(len(self.case.ticks), -1, -1, -1)

    def composed(self, outside: Tensor) -> Made:
        """What is drawn, with `outside` where no person is, neither in the picture nor in the still."""
        still = person(self.case.clip.points[self.case.first])
        inside = torch.from_numpy(np.stack([person(p) | still for p in self.case.points]))[:, None]
        return Made(torch.where(inside, self.usual.pictures, outside))


@dataclass(frozen=True, slots=True)
class Ablation:
    """A row of the table."""

    name: str
    draw: Callable[[Painter], Made]


def _exact(p: Painter, low: bool = False, hints: bool = False) -> Given:
    a, b = p.case.decoded, p.case.exact
    return Given(b.low if low else a.low, a.mel, b.hints if hints else a.hints, b.has if hints else a.has)


def _several(p: Painter, count: int) -> Made:
    return p.draw(p.case.decoded, p.identity([p.case.still(t) for t in p.case.spread(count)]))


def _chosen(p: Painter, count: int) -> Made:
    """One still at once, the one of several whose 8x8 frame is nearest to the current one: what a receiver does."""
    stills = [p.case.still(t) for t in p.case.spread(count)]
    low = unit(np.stack([area_8x8(s.picture) for s in stills]))
    apart = (p.case.decoded.low[:, -1][:, None] - low).square().mean((2, 3, 4))
    return p.draw(p.case.decoded, p.each([stills[k] for k in apart.argmin(1).tolist()]))


def _best(p: Painter) -> Made:
    near = p.each([p.case.still(t, coded=False) for t in p.case.nearest()])
    return p.draw(p.case.exact, near, p.true_points)


def _warped(made: Made) -> Tensor:
    assert made.warped is not None
    return made.warped


def _unpulled(made: Made) -> Tensor:
    assert made.unpulled is not None
    return made.unpulled


def _warped_by_network(p: Painter) -> Made:
    return p.pulled(_warped(p.draw(p.case.decoded, p.still, flow=p.flow, refined=False)))


def _by_flow(p: Painter) -> Tensor:
    at = torch.from_numpy(np.stack(np.meshgrid(np.arange(PICTURE), np.arange(PICTURE)), -1).astype(np.float32))
    at = (at + 0.5) / PICTURE * 2 - 1 + p.flow.permute(0, 2, 3, 1)
    return F.grid_sample(p.own(), at, padding_mode="border", align_corners=False)


def _coarse(flow: Tensor, side: int) -> Tensor:
    """The flow known in side x side squares only."""
    small = F.adaptive_avg_pool2d(flow, side)
    return F.interpolate(small, size=flow.shape[-2:], mode="bilinear", align_corners=False)


ABLATIONS = (
    Ablation("as it is", lambda p: p.usual),
    Ablation("8x8 exact", lambda p: p.draw(_exact(p, low=True), p.still)),
    Ablation("hints exact", lambda p: p.draw(_exact(p, hints=True), p.still)),
    Ablation("landmarks true", lambda p: p.draw(p.case.decoded, p.still, p.true_points)),
    Ablation("8x8, hints, landmarks exact", lambda p: p.draw(p.case.exact, p.still, p.true_points)),
    Ablation("hints off", lambda p: p.draw(p.case.decoded.without(hints=True), p.still)),
    Ablation("voice off", lambda p: p.draw(p.case.decoded.without(voice=True), p.still)),
    Ablation("both off", lambda p: p.draw(p.case.decoded.without(True, True), p.still)),
    Ablation("3 stills at once", lambda p: _several(p, 3)),
    Ablation("5 stills at once", lambda p: _several(p, 5)),
    Ablation("3 stills, nearest 8x8", lambda p: _chosen(p, 3)),
    Ablation("5 stills, nearest 8x8", lambda p: _chosen(p, 5)),
    Ablation("still uncoded", lambda p: p.draw(p.case.decoded, p.identity([p.case.still(p.case.first, coded=False)]))),
    Ablation(
        "still without landmarks",
        lambda p: p.draw(p.case.decoded, p.identity([p.case.still(p.case.first)], points=False)),
    ),
    Ablation("still near in pose", lambda p: p.draw(p.case.decoded, p.near)),
    Ablation("  and landmarks true", lambda p: p.draw(p.case.decoded, p.near, p.true_points)),
    Ablation("  and all exact, uncoded", _best),
    Ablation(
        "still is the very frame",
        lambda p: p.draw(p.case.decoded, p.each([p.case.still(t) for t in p.case.ticks])),
    ),
    Ablation("optical flow for motion", lambda p: p.draw(p.case.decoded, p.still, flow=p.flow)),
    Ablation("  outside the face alone", lambda p: p.draw(p.case.decoded, p.still, flow=p.flow, where=p.outside_face)),
    Ablation("  in the face alone", lambda p: p.draw(p.case.decoded, p.still, flow=p.flow, where=1 - p.outside_face)),
    Ablation("  of 32x32 squares", lambda p: p.draw(p.case.decoded, p.still, flow=_coarse(p.flow, 32))),
    Ablation("  of 16x16 squares", lambda p: p.draw(p.case.decoded, p.still, flow=_coarse(p.flow, 16))),
    Ablation("  of 8x8 squares", lambda p: p.draw(p.case.decoded, p.still, flow=_coarse(p.flow, 8))),
    Ablation("  not refined", lambda p: p.draw(p.case.decoded, p.still, flow=p.flow, refined=False)),
    Ablation("  its warped still, pulled", _warped_by_network),
    Ablation("landmarks' motion not refined", lambda p: p.draw(p.case.decoded, p.still, refined=False)),
    Ablation("not pulled to the 8x8", lambda p: Made(_unpulled(p.usual))),
    Ablation("warped still", lambda p: Made(_warped(p.usual))),
    Ablation("  pulled", lambda p: p.pulled(_warped(p.usual))),
    Ablation("still by optical flow, pulled", lambda p: p.pulled(_by_flow(p))),
    Ablation("background of the still", lambda p: p.composed(p.own())),
    Ablation("background of still-colour", lambda p: p.composed(p.pulled(p.own()).pictures)),
    Ablation("background of the raw still", lambda p: p.composed(p.own(coded=False))),
    Ablation("still-colour", lambda p: p.pulled(p.own())),
    Ablation("still", lambda p: Made(p.own())),
    Ablation("bicubic", lambda p: Made(p.model.enlarge(p.case.decoded.low[:, -1]))),
    Ablation("AVIF of the very frame", lambda p: Made(unit(np.stack([p.case.still(t).picture for t in p.case.ticks])))),
)


@contextmanager
def _told(module: nn.Module, answer: Callable[[Any, Any], Any]) -> Iterator[None]:
    """While it lasts, `module` gives what `answer` makes of its inputs and output; None leaves its output."""
    handle = module.register_forward_hook(lambda _, inputs, output: answer(inputs, output))
    try:
        yield
    finally:
        handle.remove()


def _instead(points: Tensor) -> Callable[[Any, Tensor], Tensor]:
    """For the landmark head: the same landmarks for every still."""
    return lambda inputs, output: points[:, None].expand_as(output)


def _instead_of_motion(flow: Tensor, where: Tensor) -> Callable[[Any, Tensor], Tensor]:
    """For the sparse motion: a given field at the size that is asked for, in the given share of each place."""

    def answer(inputs: Any, output: Tensor) -> Tensor:
        told, share = (F.interpolate(t, size=output.shape[-2:], mode="area")[:, None] for t in (flow, where))
        return output + share * (told - output)

    return answer


def _listed(outputs: list[Drawn]) -> Callable[[Any, Drawn], None]:
    """Keeps what a module gives, and leaves it."""
    return lambda inputs, output: outputs.append(output)


def _part(tensor: Tensor, now: slice, count: int) -> Tensor:
    return tensor.expand(count, *tensor.shape[1:]) if len(tensor) == 1 else tensor[now]


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
