"""The trained networks in a call: the still is encoded when it comes, then one picture is drawn a tick (torch engine):
by the upsampler, and its mouth then restored by the teeth stage.

Set OMP_WAIT_POLICY=PASSIVE before this module is imported where other processes share the cores.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .audio_encoder import ROWS
from .bitstream.face import FaceTick, area_8x8
from .bitstream.still import IdentityStill
from .bitstream.timing import SAMPLES_PER_TICK
from .held_hints import HeldHints
from .layers import channels_last
from .mel import BANDS, FLOOR, LogMel, normalised
from .memory import keep_memory
from .precision import has_bfloat16, precision, round_weights
from .reconstruction import enlarge
from .teeth_stage import Reference, TeethStage
from .upsampler import LIVE, IdentityFeatures, Upsampler, UpsamplerConfig
from .weight_files import filled

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "upsampler.safetensors"
MAX_STILLS = 8
"""Stills that are kept; the oldest goes."""
_CHANGE = 12
"""Ticks between two choices of stills: a picture that jumps to and fro is worse than one from the second best."""


@dataclass(slots=True)
class StreamState:
    """All that a stream remembers. window: the last T 8x8 frames, newest last, (3, 8, 8) in [-1, 1]; rows: the last 16
    log-mel rows (16, 80), log10 power.
    """

    window: deque[NDArray[np.float32]]
    rows: NDArray[np.float32] = field(default_factory=lambda: np.full((ROWS, BANDS), FLOOR, np.float32))
    hints: HeldHints = field(default_factory=HeldHints)
    log_mel: LogMel = field(default_factory=LogMel)

    def push(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        """Take in a tick. A missing frame holds the last one, a window that is not full yet holds its first."""
        if face.picture is not None:
            frame = _unit(face.picture)
            self.window.extend([frame] * (1 if self.window else self.window.maxlen or 1))
        elif self.window:
            self.window.append(self.window[-1])
        samples = np.zeros(SAMPLES_PER_TICK, np.int16) if voice is None else voice
        rows = self.log_mel.push(samples)
        self.rows = np.concatenate([self.rows[len(rows) :], rows])
        self.hints.push(face)


@dataclass(frozen=True, slots=True)
class _Still:
    """What is kept of a still. low: its 8x8 average (3, 8, 8) in [-1, 1]; reference: of the teeth stage, where there is
    one and the still has landmarks.
    """

    identity: IdentityFeatures
    low: NDArray[np.float32]
    reference: Reference | None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A tick on the device. upsampled, picture: before and after the teeth stage, (1, 3, 256, 256) in about [-1, 1],
    the same one without the stage; points: predicted landmarks (1, 110, 2) in [-1, 1].
    """

    upsampled: Tensor
    picture: Tensor
    points: Tensor


class NetworkReconstructor:
    """Reconstructor (see `codec_models.reconstruction`) with the upsampler and the teeth stage.

    weights: safetensors of exactly the parameters of `config`; None for those that come with the program. stills: how
    many of the received stills are used at once, those whose 8x8 frames are nearest to the current one, 1 to 3.
    bfloat16: reduced precision for the convolutions; None: where the hardware computes in it. teeth: whether the mouth
    is restored, or weights of the teeth network other than those that come with the program. Raises UserError where
    weights cannot be used.

    Before the first still, the enlarged 8x8 frame is shown; before the first frame, the still itself. A still without
    landmarks works, with rough motion.
    """

    delay = 0
    fps: int | None = None

    def __init__(
        self,
        weights: Path | None = None,
        config: UpsamplerConfig = LIVE,
        device: str = "cpu",
        stills: int = 1,
        bfloat16: bool | None = None,
        teeth: bool | Path = True,
    ) -> None:
        if not 1 <= stills <= 3:
            raise ValueError(f"{stills} stills at once: 1 to 3")
        keep_memory()
        if torch.device(device).type == "cpu":
            # the rest of the call needs the other half of the cores
            torch.set_num_threads(max(1, min(torch.get_num_threads(), (os.cpu_count() or 2) // 2)))
        if bfloat16 is None:
            bfloat16 = has_bfloat16(device)
        self.device = device
        self.backend = f"torch {'bf16' if bfloat16 else 'fp32'}, width {config.width}"
        self._device, self._stills, self._bfloat16 = torch.device(device), stills, bfloat16
        self._model = load_upsampler(weights or DEFAULT_WEIGHTS, config).to(self._device)
        if bfloat16:
            round_weights(self._model)
        self.teeth: TeethStage | None = None
        if teeth is not False:
            self.teeth = TeethStage(None if teeth is True else teeth, device=device, bfloat16=bfloat16)
            self.backend += " + teeth"
        self._identities: deque[_Still] = deque(maxlen=MAX_STILLS)
        self._newest: NDArray[np.uint8] | None = None
        self._chosen: IdentityFeatures | None = None
        self._choice: list[int] = []
        self.spent: dict[str, float] = {}
        self.reset()
        self._warm_up()

    def reset(self) -> None:
        self._state = StreamState(deque(maxlen=self._model.config.window))
        self._until_choice = 0
        if self.teeth is not None:
            self.teeth.reset()

    def _warm_up(self) -> None:
        """The first still and tick choose kernels and fetch memory, which a call should not wait for."""
        grey = np.full((256, 256, 3), 128, np.uint8)
        face = np.asarray((self._model.still_landmarks.mean.detach().cpu().numpy() + 1) / 2, np.float32)
        for points in (None, face):
            self.set_identity(IdentityStill(grey, points))
        for _ in range(2):
            self.tick(FaceTick(grey[:8, :8], None), np.zeros(SAMPLES_PER_TICK, np.int16))
        self._identities.clear()
        self._newest = self._chosen = None
        if self.teeth is not None:
            self.teeth.use(())
        self.reset()

    @torch.inference_mode()
    def set_identity(self, still: IdentityStill) -> None:
        """Encodes the still: some five times the work of a tick."""
        low = _unit(area_8x8(still.picture))
        picture = self._tensor(_unit(still.picture)).contiguous(memory_format=torch.channels_last)
        points = None if still.points is None else self._tensor(still.points * 2 - 1)[:, None]
        with precision(self._device, self._bfloat16):
            identity = self._model.encode_stills(picture[:, None], self._tensor(low)[:, None], points).kept()
        reference = None
        if self.teeth is not None and points is not None:
            # guessed landmarks are too rough to say where the mouth is
            reference = self.teeth.remember(picture, points[:, 0])
        # a still that comes again, after a reconnect, takes its own place
        others = [known for known in self._identities if not np.array_equal(known.low, low)]
        self._identities = deque([*others, _Still(identity, low, reference)], MAX_STILLS)
        if self.teeth is not None:
            self.teeth.use([known.reference for known in self._identities if known.reference is not None])
        self._newest = still.picture
        self._chosen, self._until_choice = None, 0

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        self._state.push(face, voice)

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        drawn = self.draw(face, voice)
        if drawn is not None:
            return picture_bytes(drawn.picture)
        window = self._state.window
        if window:
            return _bytes(enlarge(np.ascontiguousarray(window[-1].transpose(1, 2, 0))))
        return np.full((256, 256, 3), 128, np.uint8) if self._newest is None else self._newest.copy()

    @torch.inference_mode()
    def draw(self, face: FaceTick, voice: NDArray[np.int16] | None) -> Drawn | None:
        """`tick` with what its picture is made of; None where a still or a first frame is missing."""
        began = time.perf_counter()
        self.spent = {}
        state = self._state
        state.push(face, voice)
        identity = self._choose(state.window[-1]) if state.window else None
        if identity is None:
            return None
        has = np.array([state.hints.known, voice is not None], np.float32)
        with precision(self._device, self._bfloat16):
            output = self._model(
                identity,
                self._tensor(np.stack(state.window)),
                self._tensor(normalised(state.rows).T),
                self._tensor(state.hints.values),
                self._tensor(has),
                coarse=False,
            )
        picture = output.picture
        drawn = time.perf_counter()
        self.spent["upsample"] = drawn - began
        if self.teeth is not None:
            picture = self.teeth.restore(picture, output.points)
            self.spent["teeth"] = time.perf_counter() - drawn
        return Drawn(output.picture, picture, output.points)

    def _choose(self, low: NDArray[np.float32]) -> IdentityFeatures | None:
        if not self._identities:
            return None
        self._until_choice -= 1
        if self._chosen is None or (self._until_choice < 0 and len(self._identities) > self._stills):
            apart = [float(np.square(low - known.low).mean()) for known in self._identities]
            choice = sorted(np.argsort(apart, kind="stable")[: self._stills].tolist())
            if self._chosen is None or choice != self._choice:
                self._choice = choice
                parts = [self._identities[k].identity for k in choice]
                self._chosen = parts[0] if len(parts) == 1 else IdentityFeatures.together(parts)
            self._until_choice = _CHANGE
        return self._chosen

    def _tensor(self, values: NDArray[np.float32]) -> Tensor:
        """With a batch axis, on the device."""
        return torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(self._device)[None]


def load_upsampler(path: Path, config: UpsamplerConfig = LIVE) -> Upsampler:
    """The network with weights from a safetensors file of exactly its parameters, ready to run. Raises UserError."""
    return channels_last(filled(Upsampler(config), path))


def picture_bytes(picture: Tensor) -> NDArray[np.uint8]:
    """(1, 3, n, n) in [-1, 1] on any device -> (n, n, 3) uint8, rounded and clipped."""
    scaled = picture[0].mul(127.5).add_(128.0).clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.cpu().numpy().transpose(1, 2, 0))


def _unit(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, n, 3) uint8 -> (3, n, n) in [-1, 1]."""
    return np.asarray(picture.transpose(2, 0, 1) / np.float32(127.5) - 1, np.float32)


def _bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, n, 3) in [-1, 1] -> uint8, rounded and clipped."""
    return np.asarray(np.clip(picture * 127.5 + 128, 0, 255), np.uint8)
