"""Log-mel rows of the voice, for the networks: a streaming front end and the same for whole clips, in numpy.

Definition (window and hop of the av-upsampler paper, section 3.2): 16 kHz, 25 ms
periodic Hann window, 10 ms hop, 512-point FFT with the window in its middle, power, 80 triangular filters with corners
equally spaced on the HTK mel scale from 55 to 7600 Hz and peaks of 1 (no area normalisation), log10, floor 1e-7.
What librosa gives for `melspectrogram(sr=16000, n_fft=512, win_length=400, hop_length=160, n_mels=80, fmin=55,
fmax=7600, htk=True, norm=None, pad_mode="constant")`.

Alignment. Row r is the window of samples [160 r - lead, 160 r - lead + 400) of the 16 kHz signal:

- `CENTRED` (200): the window's middle is at 10 ms times r; librosa's `center=True`. Looks 12.5 ms ahead of its time.
- `CAUSAL` (240): the window ends where the 10 ms of the row end. Row k of a tick ends at sample 160 (k + 1) of it.
- `CALL` (264): causal, and the decimation's delay of 24 samples. What `LogMel` gives, up to the decimation filter's
  response (mean difference 0.003), so what training should see: rows 4 t to 4 t + 3 are those of tick t.

Rows of `CENTRED` made elsewhere (`ID.mel` of the training labels) differ from the call's by the 4 ms between the two
alignments: 0.25 in log10 power in the mean on speech, of which 0.1 is the compression of the clips' sound. No other
shift of whole rows comes nearer. Rows made here with `CALL` from the clip's own sound have neither error.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from .bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK, TICK_MS

RATE = 16_000
BANDS = 80
WINDOW = 400
HOP = 160
FFT = 512
LOW_HZ, HIGH_HZ = 55.0, 7600.0
FLOOR, CEILING = -7.0, 2.0
"""log10 power: rows are never below FLOOR; `normalised` clips at CEILING."""
ROWS = 16
"""Rows that the networks see at once: the 160 ms up to the picture, which is taken at the tick's end."""
ROWS_PER_TICK = RATE * TICK_MS // 1000 // HOP

DECIMATION = SAMPLE_RATE // RATE
TAPS = 145
"""Of the decimation filter. Its delay is (TAPS - 1) / 2 = 72 samples at 48 kHz, 24 at 16 kHz, 1.5 ms."""
DELAY = (TAPS - 1) // 2 // DECIMATION

CENTRED = WINDOW // 2
CAUSAL = WINDOW - HOP
CALL = CAUSAL + DELAY


class LogMel:
    """Rows of a voice that comes tick by tick. State: the last samples before the tick, silence at the start."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Another stream starts."""
        self._wide = np.zeros(TAPS - 1)
        self._narrow = np.zeros(CAUSAL)

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float32]:
        """The rows of the next tick, (4, 80) float32. samples: (1920,) int16, 48 kHz mono; zeros where it is missing.

        Raises ValueError on another shape.
        """
        if samples.shape != (SAMPLES_PER_TICK,):
            raise ValueError(f"a tick has {SAMPLES_PER_TICK} samples, not {samples.shape}")
        wide = np.concatenate([self._wide, samples / 32768.0])
        narrow = np.concatenate([self._narrow, _decimated(wide)])
        self._wide, self._narrow = wide[1 - TAPS :], narrow[-CAUSAL:]
        return _rows(narrow)


def log_mel(samples: NDArray[np.floating], lead: int = CENTRED) -> NDArray[np.float32]:
    """The rows of a whole clip, (n, 80) float32 log10 power, n = whole 10 ms in the clip. Silence around the clip.

    samples: (N,) in -1 to 1 at 16 kHz. lead: `CENTRED`, `CAUSAL` or `CALL` (see above). For the row count of a video
    of T frames, cut or pad with `FLOOR` to 4 T rows. Raises ValueError on another shape or a negative lead.
    """
    if samples.ndim != 1 or lead < 0:
        raise ValueError("log_mel takes one channel and a lead of 0 or more")
    count = len(samples) // HOP
    if not count:
        return np.zeros((0, BANDS), np.float32)
    padded = np.zeros(max((count - 1) * HOP + WINDOW, lead + len(samples)))
    padded[lead : lead + len(samples)] = samples
    # whole ticks, so that the sums are made as in a call and the figures are the same to the last bit
    ticks = -(-count // ROWS_PER_TICK)
    padded = np.pad(padded, (0, max(0, (ticks * ROWS_PER_TICK - 1) * HOP + WINDOW - len(padded))))
    span, step = CAUSAL + ROWS_PER_TICK * HOP, ROWS_PER_TICK * HOP
    return np.concatenate([_rows(padded[k * step : k * step + span]) for k in range(ticks)])[:count]


def decimate(samples: NDArray[np.int16]) -> NDArray[np.float64]:
    """48 kHz mono (N,) int16 to 16 kHz (N // 3,) in -1 to 1, as in a call: delayed by `DELAY` samples."""
    whole = samples[: len(samples) // DECIMATION * DECIMATION] / 32768.0
    return _decimated(np.concatenate([np.zeros(TAPS - 1), whole])) if len(whole) else np.zeros(0)


def normalised(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows as the networks take them: `FLOOR` to `CEILING` becomes -1 to 1, clipped."""
    return np.asarray(np.clip((rows - FLOOR) / (CEILING - FLOOR) * 2 - 1, -1, 1), np.float32)


@cache
def filter_bank() -> NDArray[np.float64]:
    """(80, 257): weight of each FFT bin in each band."""
    edges = _hz(np.linspace(_mel(LOW_HZ), _mel(HIGH_HZ), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0, np.minimum(rise, fall)))


@cache
def decimation_filter() -> NDArray[np.float64]:
    """(145,): Kaiser-windowed sinc, half amplitude at 8 kHz, flat to 7.4 kHz, 60 dB down from 8.6 kHz on."""
    at = np.arange(TAPS) - (TAPS - 1) / 2
    taps = np.sinc(at / DECIMATION) * np.kaiser(TAPS, 5.65)
    return np.asarray(taps / taps.sum())


def _decimated(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every third output, (N - TAPS + 1) // 3 of them: output m ends at input 3 m + TAPS - 1 of `samples`."""
    taps = decimation_filter()
    count = (len(samples) - TAPS + 1) // DECIMATION
    out = np.zeros(count)
    for phase in range(DECIMATION):
        part = taps[phase::DECIMATION]  # the filter is symmetric: no need to turn it round
        out += np.convolve(samples[phase::DECIMATION][: count + len(part) - 1], part[::-1], "valid")
    return out


def _rows(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows of all whole windows in `samples`."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    # where the window stands inside the FFT changes the phase only
    spectrum = np.fft.rfft(windows * _hann(), FFT)
    power = (spectrum.real**2 + spectrum.imag**2) @ filter_bank().T
    return np.asarray(np.log10(np.maximum(power, 10.0**FLOOR)), np.float32)


@cache
def _hann() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
