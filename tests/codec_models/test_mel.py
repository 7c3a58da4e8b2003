"""The mel front end: librosa's figures, and the same ones from a stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models import mel
from codec_models.mel import CALL, CAUSAL, CENTRED, DELAY, LogMel, decimate, log_mel, normalised

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).with_name("golden_mel.npy")
"""librosa 0.11 on `signal(3333)`, every third row, float32; made by `librosa_rows` below."""


def signal(count: int = 16_000, rate: int = 16_000) -> NDArray[np.float64]:
    """Something like a voice: a gliding pulse train, noise in bursts, silence; the same on every machine."""
    time = np.arange(count) / rate
    glide = np.cumsum(110 + 40 * np.sin(2 * np.pi * 1.7 * time)) / rate
    tone = sum(np.sin(2 * np.pi * k * glide) / k for k in range(1, 30))
    noise = np.random.default_rng(1).integers(-1000, 1001, count) / 1000
    burst = np.maximum(0, np.sin(2 * np.pi * 6 * time))
    quiet = np.where((time % 0.4) > 0.34, 0.0, 1.0)
    return np.asarray((0.2 * tone * (1 - burst) + 0.1 * noise * burst) * quiet)


def voice(ticks: int, seed: int = 0) -> NDArray[np.int16]:
    noise = np.random.default_rng(seed).normal(0, 3000, ticks * 1920)
    return np.asarray(noise * np.repeat(np.linspace(0, 1, ticks), 1920), np.int16)


def librosa_rows(samples: NDArray[np.float64]) -> NDArray[np.float32]:
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    power = librosa.feature.melspectrogram(
        y=samples, sr=16_000, n_fft=512, win_length=400, hop_length=160, n_mels=80,
        fmin=55, fmax=7600, htk=True, norm=None, pad_mode="constant",
    )  # fmt: skip
    return np.asarray(np.log10(np.maximum(power, 1e-7)).T, np.float32)


def test_equals_librosa() -> None:
    samples = signal()
    expected = librosa_rows(samples)[: len(samples) // 160]
    assert np.abs(log_mel(samples) - expected).max() < 1e-4
    assert np.ptp(expected) > 5


def test_equals_what_librosa_gave() -> None:
    golden = np.load(GOLDEN)
    rows = log_mel(signal(3333))
    assert rows.shape == (20, 80) and rows.dtype == np.float32
    assert np.abs(rows[::3] - golden).max() < 1e-4


def test_leads_are_delays_of_the_signal() -> None:
    samples = signal(4000)
    for lead in (CAUSAL, CALL):
        late = np.concatenate([np.zeros(lead - CENTRED), samples])
        assert np.abs(log_mel(samples, lead) - log_mel(late)[:25]).max() < 1e-5


@pytest.mark.parametrize("ticks", [1, 2, 25])
def test_a_stream_gives_the_clips_rows_exactly(ticks: int) -> None:
    samples, stream = voice(ticks), LogMel()
    rows = np.concatenate([stream.push(tick) for tick in samples.reshape(-1, 1920)])
    assert rows.shape == (4 * ticks, 80) and rows.dtype == np.float32
    assert np.array_equal(rows, log_mel(decimate(samples), CAUSAL))
    stream.reset()
    assert np.array_equal(stream.push(samples[:1920]), rows[:4])


def test_the_call_gives_what_training_sees_of_16_khz_files() -> None:
    """A clip at 16 kHz, brought to 48 kHz on its way into the call, against `log_mel(..., CALL)` of the file."""
    narrow = signal(16_000) * 0.5
    spectrum = np.fft.rfft(narrow) * (np.arange(8001) < 7000)  # the decimation filter is flat there
    narrow = np.fft.irfft(spectrum)
    wide = np.fft.irfft(np.concatenate([spectrum, np.zeros(16_000)])) * 3
    samples = np.round(wide * 32767).astype(np.int16)
    stream = LogMel()
    rows = np.concatenate([stream.push(tick) for tick in samples.reshape(-1, 1920)])
    trained = log_mel(narrow * 32767 / 32768, CALL)
    loud = trained > -4  # below are the rounding of 16 bit and the stop band
    assert loud.mean() > 0.5
    assert np.abs(rows - trained)[4:-4][loud[4:-4]].max() < 0.05


def test_rows_are_causal() -> None:
    samples = signal(3200)
    before = log_mel(samples, CALL)
    samples[160 * 6 - DELAY :] += 0.5  # what comes after the ten milliseconds of row 5
    changed = np.flatnonzero((log_mel(samples, CALL) != before).any(1))
    assert changed.tolist() == list(range(6, 20))


def test_decimation_passes_speech_and_stops_what_would_alias() -> None:
    response = np.abs(np.fft.rfft(mel.decimation_filter(), 48_000))
    decibel = 20 * np.log10(np.maximum(response, 1e-9))
    assert np.abs(decibel[:7400]).max() < 0.05
    assert decibel[8600:].max() < -58
    click = np.zeros(1920, np.int16)
    click[600] = 32767
    assert int(np.argmax(decimate(click))) == 600 // 3 + DELAY


def test_silence_loudness_and_bounds() -> None:
    assert (LogMel().push(np.zeros(1920, np.int16)) == -7).all()
    loud = LogMel().push(np.tile(np.array([32767, -32768], np.int16), 960))
    assert np.isfinite(loud).all()
    assert log_mel(np.zeros(159)).shape == (0, 80)
    assert normalised(np.array([-9.0, -7, -2.5, 2, 5])).tolist() == [-1, -1, 0, 1, 1]
    with pytest.raises(ValueError, match="1920"):
        LogMel().push(np.zeros(1919, np.int16))
    with pytest.raises(ValueError, match="one channel"):
        log_mel(np.zeros((2, 1600)))
