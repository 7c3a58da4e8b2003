"""Speech-like sound and the mouth movements that belong to it, synthesised tick by tick.

A source-filter synthesiser after D. H. Klatt, "Software for a cascade/parallel formant synthesizer", JASA 67 (1980):
glottal pulses and aspiration noise through a cascade of formant resonators, frication noise through one resonator
beside it. Formants of vowels are the women's means of Peterson and Barney (1952).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, sosfilt

from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK

FRAME = 240
"""Samples of one control frame (5 ms)."""
_FRAMES_PER_TICK = SAMPLES_PER_TICK // FRAME
_LIPS_EARLY = 9
"""Control frames by which the lips' targets lead those of the sound, as coarticulated lips do."""


@dataclass(frozen=True, slots=True)
class Phone:
    """Targets of one speech sound.

    ms: duration; formants in Hz or None (taken from the next sound); voiced, breath, hiss: amplitudes 0..1 of voice,
    aspiration and frication; hiss_hz, hiss_band: centre and width of the frication; open: mouth opening 0..1;
    width: -1 (rounded) .. 1 (spread).
    """

    ms: float
    formants: tuple[float, float, float] | None
    voiced: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    hiss_hz: float = 5000.0
    hiss_band: float = 3000.0
    open: float = 0.0
    width: float = 0.0


def _vowel(ms: float, f1: float, f2: float, f3: float, open: float, width: float) -> Phone:
    return Phone(ms, (f1, f2, f3), 1.0, 0.04, open=open, width=width)


_PHONES: dict[str, Phone] = {
    "IY": _vowel(105, 330, 2750, 3300, 0.42, 0.6),
    "IH": _vowel(80, 430, 2400, 3070, 0.50, 0.3),
    "EH": _vowel(90, 610, 2280, 2990, 0.68, 0.25),
    "AE": _vowel(115, 840, 2030, 2850, 0.88, 0.3),
    "AH": _vowel(70, 720, 1400, 2780, 0.62, 0.0),
    "AA": _vowel(120, 850, 1250, 2810, 1.00, 0.0),
    "AO": _vowel(120, 600, 950, 2710, 0.80, -0.6),
    "UH": _vowel(70, 470, 1180, 2680, 0.45, -0.6),
    "UW": _vowel(105, 380, 1000, 2670, 0.36, -1.0),
    "ER": _vowel(100, 500, 1600, 1960, 0.48, -0.4),
    "W": Phone(60, (330, 760, 2500), 0.55, open=0.25, width=-1.0),
    "Y": Phone(55, (300, 2600, 3200), 0.55, open=0.35, width=0.4),
    "R": Phone(60, (370, 1300, 1750), 0.60, open=0.35, width=-0.6),
    "L": Phone(60, (400, 1250, 3000), 0.60, open=0.45, width=0.0),
    "M": Phone(75, (270, 1200, 2500), 0.33, open=0.0, width=0.0),
    "N": Phone(65, (270, 1750, 2800), 0.33, open=0.30, width=0.1),
    "HH": Phone(55, None, 0.0, 0.30, open=0.50, width=0.0),
    "F": Phone(90, (300, 1300, 2700), 0.0, 0.02, 0.10, 7500, 6000, 0.12, 0.0),
    "V": Phone(60, (280, 1300, 2600), 0.40, 0.0, 0.05, 7000, 6000, 0.12, 0.0),
    "TH": Phone(80, (300, 1400, 2700), 0.0, 0.02, 0.07, 7500, 6000, 0.28, 0.0),
    "DH": Phone(45, (300, 1500, 2700), 0.40, 0.0, 0.03, 7000, 6000, 0.28, 0.0),
    "S": Phone(100, (320, 1750, 2800), 0.0, 0.0, 0.26, 7200, 2200, 0.28, 0.35),
    "Z": Phone(75, (290, 1750, 2800), 0.35, 0.0, 0.15, 7000, 2200, 0.28, 0.3),
    "SH": Phone(100, (320, 1850, 2700), 0.0, 0.0, 0.30, 3600, 1400, 0.32, -0.6),
}
# a stop is silence (or a murmur), a burst, and for the voiceless ones a puff of breath
_STOPS: dict[str, tuple[Phone, ...]] = {
    "P": (Phone(65, (300, 900, 2300)), Phone(10, (300, 900, 2300), hiss=0.16, hiss_hz=1500, open=0.15),
          Phone(25, None, breath=0.25, open=0.4)),
    "B": (Phone(60, (250, 900, 2300), 0.12), Phone(8, (300, 900, 2300), 0.4, hiss=0.10, hiss_hz=1200, open=0.2)),
    "T": (Phone(60, (300, 1750, 2800), open=0.28), Phone(12, (300, 1750, 2800), hiss=0.28, hiss_hz=5200, open=0.32),
          Phone(28, None, breath=0.25, open=0.45)),
    "D": (Phone(50, (270, 1750, 2800), 0.12, open=0.28),
          Phone(8, (300, 1750, 2800), 0.4, hiss=0.15, hiss_hz=4800, open=0.35)),
    "K": (Phone(65, (300, 1900, 2600), open=0.4), Phone(14, (300, 1900, 2600), hiss=0.24, hiss_hz=2400, open=0.4),
          Phone(32, None, breath=0.25, open=0.45)),
    "G": (Phone(50, (270, 1900, 2600), 0.12, open=0.4),
          Phone(10, (300, 1900, 2600), 0.4, hiss=0.14, hiss_hz=2200, open=0.45)),
}  # fmt: skip
_DIPHTHONGS = {"EY": ("EH", "IY"), "AY": ("AA", "IH"), "OY": ("AO", "IH"), "OW": ("AO", "UH"), "AW": ("AA", "UH")}

# 1 marks the stressed vowels
PHRASES = (
    "HH EH L OW1 _ DH IH S IH Z P IH1 N HH OW L",
    "AY1 AE M OW N L IY EY1 T B AY EY1 T P IH1 K S AH L Z",
    "AE N D Y UW K AE N S IY1 M IY S P IY1 K",
    "DH AH V OY1 S AE N D DH AH F EY1 S _ T R AE1 V AH L T AH G EH1 DH ER",
    "AH K AO1 L N IY D Z V EH R IY F Y UW1 B IH T S",
    "HH AW1 AA R Y UW T AH D EY1",
    "W IY M EY1 D IH T S M AO1 L _ N AA T B L ER1 D",
)
"""What the demo says: "Hello, this is Pinhole. I am only eight by eight pixels. ..."."""


@dataclass(frozen=True, slots=True)
class Mouth:
    """The mouth at a tick's end: open 0 (closed) .. 1, width -1 (rounded) .. 1 (spread), stress 0..1 of the
    syllable, speaking False in the pauses between phrases.
    """

    open: float
    width: float
    stress: float
    speaking: bool


@dataclass(slots=True)
class _Target:
    phone: Phone
    formants: tuple[float, float, float]
    pitch: float
    stress: float
    speaking: bool


_REST = Phone(0.0, (500, 1600, 2700), open=0.06, width=0.1)


def _script(seed: int) -> Iterator[_Target]:
    """Control-frame targets, endless: phrases in turn with pauses, tempo and melody drawn from the seed."""
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        yield from _pause(0.35 if number == 0 else float(rng.uniform(0.55, 1.25)))
        yield from _phrase(PHRASES[number % len(PHRASES)], rng)
        number += 1


def _pause(seconds: float) -> Iterator[_Target]:
    assert _REST.formants is not None
    for _ in range(round(seconds * SAMPLE_RATE / FRAME)):
        yield _Target(_REST, _REST.formants, 0.0, 0.0, False)


def _phrase(text: str, rng: np.random.Generator) -> Iterator[_Target]:
    phones: list[tuple[Phone, float, float]] = []  # phone, duration in ms, stress
    tempo = float(rng.uniform(1.0, 1.18))
    for name in text.split():
        stress = 1.0 if name.endswith("1") else 0.0
        name = name.rstrip("1")
        if name == "_":
            phones.append((_REST, 190.0, 0.0))
        elif name in _DIPHTHONGS:
            first, second = (_PHONES[p] for p in _DIPHTHONGS[name])
            phones += [(first, 95 * (1 + 0.3 * stress), stress), (second, 75 * (1 + 0.2 * stress), stress)]
        elif name in _STOPS:
            phones += [(p, p.ms, 0.0) for p in _STOPS[name]]
        else:
            phones.append((_PHONES[name], _PHONES[name].ms * (1 + 0.35 * stress), stress))
    last, ms, stress = phones[-1]
    phones[-1] = (last, ms * 1.35, stress)  # the last sound of a phrase is drawn out
    total = sum(ms for _, ms, _ in phones)
    top, fall = float(rng.uniform(222, 242)), float(rng.uniform(0.20, 0.30))
    done = 0.0
    for k, (phone, ms, stress) in enumerate(phones):
        following = (p.formants for p, _, _ in phones[k:] if p.formants is not None)
        formants = next(following, (500.0, 1600.0, 2700.0))
        loud = float(rng.uniform(0.9, 1.0))
        for i in range(max(1, round(tempo * ms * SAMPLE_RATE / FRAME / 1000))):
            along = (done + i * 5 / tempo) / total
            pitch = top * (1 - fall * min(along, 1.0)) * (1 + 0.13 * stress)
            yield _Target(phone, formants, pitch * (0.985 + 0.03 * loud), stress, phone is not _REST)
        done += ms


@dataclass(slots=True)
class _State:
    formants: NDArray[np.float64] = field(default_factory=lambda: np.array([500.0, 1600.0, 2700.0]))
    levels: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    pitch: float = 215.0
    lips: NDArray[np.float64] = field(default_factory=lambda: np.array([[_REST.open, _REST.width, 0.0]] * 2))
    phase: float = 0.0
    cascade: NDArray[np.float64] = field(default_factory=lambda: np.zeros((5, 2)))
    hiss: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, 2)))
    tilt: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    high: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))


class DemoVoice:
    """Endless speech-like sound; the same seed gives the same sound."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = np.random.default_rng([seed, 1])
        self._script = _script(seed)
        self._ahead = deque(next(self._script) for _ in range(_LIPS_EARLY))
        self._state = _State()

    def tick(self) -> tuple[NDArray[np.int16], Mouth]:
        """The next 40 ms, (1920,) int16 at 48 kHz, and the mouth at their end."""
        s = self._state
        frames = [self._frame() for _ in range(_FRAMES_PER_TICK)]
        mouth = Mouth(float(s.lips[1, 0]), float(s.lips[1, 1]), float(s.lips[1, 2]), self._ahead[0].speaking)
        pitch = np.repeat([f[1] for f in frames], FRAME) * (1 + 0.004 * self._rng.standard_normal())
        voiced, breath, hiss = (np.concatenate([f[2][:, k] for f in frames]) for k in range(3))
        noise = self._rng.standard_normal(SAMPLES_PER_TICK)
        phase = s.phase + np.cumsum(pitch / SAMPLE_RATE)
        s.phase = float(phase[-1] % 1)
        pulses, s.tilt = lfilter([0.32], [1, -0.68], _glottal(phase % 1), zi=s.tilt)
        source = voiced * pulses + 0.5 * breath * noise
        out = np.empty(SAMPLES_PER_TICK)
        for k, (formants, _, _, phone) in enumerate(frames):
            at = slice(k * FRAME, (k + 1) * FRAME)
            tract, s.cascade = sosfilt(_cascade(formants), source[at], zi=s.cascade)
            rough, s.hiss = sosfilt(_band(phone.hiss_hz, phone.hiss_band), hiss[at] * noise[at], zi=s.hiss)
            out[at] = 0.30 * tract + rough
        out, s.high = lfilter([1, -1], [1, -0.99], out, zi=s.high)
        out += 0.0003 * self._rng.standard_normal(SAMPLES_PER_TICK)
        return np.asarray(np.round(32767 * np.tanh(0.36 * out)), np.int16), mouth

    def _frame(self) -> tuple[NDArray[np.float64], float, NDArray[np.float64], Phone]:
        """Move the articulators by 5 ms: formants, pitch, (240, 3) levels, and the sound being aimed at."""
        s = self._state
        self._ahead.append(next(self._script))
        early, now = self._ahead[-1], self._ahead.popleft()
        s.formants += 0.28 * (np.array(now.formants) - s.formants)
        if now.pitch:
            s.pitch += 0.10 * (now.pitch - s.pitch)
        before = s.levels.copy()
        s.levels += 0.36 * (np.array([now.phone.voiced, now.phone.breath, now.phone.hiss]) - s.levels)
        ramp = np.linspace(0, 1, FRAME, endpoint=False)[:, None]
        levels = before + ramp * (s.levels - before)
        # two equal poles: the lips have mass
        aim = np.array([early.phone.open, early.phone.width, early.stress])
        s.lips[0] += 0.20 * (aim - s.lips[0])
        s.lips[1] += 0.20 * (s.lips[0] - s.lips[1])
        return s.formants.copy(), s.pitch, levels, now.phone


def _glottal(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative of Rosenberg's glottal flow, opening for 40 % and closing for 16 % of the period."""
    opening, closing = 0.40, 0.16
    rise = phase / opening
    fall = (phase - opening) / closing
    flow = np.where(rise < 1, 6 * (rise - rise**2) / opening, np.where(fall < 1, -2 * fall / closing, 0.0))
    return 0.2 * np.asarray(flow)


def _cascade(formants: NDArray[np.float64]) -> NDArray[np.float64]:
    """Five two-pole resonators in a row with gain 1 at 0 Hz, as second-order sections (5, 6)."""
    frequency = np.array([*formants, 4000.0, 4900.0])
    band = np.array([75.0, 95.0, 140.0, 260.0, 350.0])
    radius = np.exp(-np.pi * band / SAMPLE_RATE)
    sections = np.zeros((5, 6))
    sections[:, 3] = 1
    sections[:, 4] = -2 * radius * np.cos(2 * np.pi * frequency / SAMPLE_RATE)
    sections[:, 5] = radius**2
    sections[:, 0] = 1 + sections[:, 4] + sections[:, 5]
    return sections


def _band(hz: float, width: float) -> NDArray[np.float64]:
    """One two-pole resonator with zeros at 0 Hz and half the sample rate, gain 1 at its centre."""
    radius = float(np.exp(-np.pi * width / SAMPLE_RATE))
    turn = 2 * np.pi * hz / SAMPLE_RATE
    return np.array([[(1 - radius**2) / 2, 0, -(1 - radius**2) / 2, 1, -2 * radius * np.cos(turn), radius**2]])
