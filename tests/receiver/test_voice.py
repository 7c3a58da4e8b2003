from __future__ import annotations

import random

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from receiver.voice import Concealer, OpusDecoder

pytestmark = pytest.mark.unit


def speech(ticks: int, pitch: float = 140.0) -> NDArray[np.int16]:
    """Voiced sound with a gliding pitch and three formant-like harmonics, (ticks, 1920)."""
    t = np.arange(ticks * 1920) / 48000
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))) / 48000
    wave = sum(a * np.sin(k * phase + k) for k, a in ((1, 5000), (2, 3000), (3, 2000), (5, 1500), (9, 500)))
    return np.asarray(wave * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * t)), np.int16).reshape(ticks, 1920)


def encode(voice: NDArray[np.int16]) -> list[bytes]:
    codec = av.AudioCodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 48000, "mono", "s16", 12000
    codec.options = {"application": "voip", "frame_duration": "40", "vbr": "on"}
    out = []
    for tick in voice:
        frame = av.AudioFrame.from_ndarray(tick[None], format="s16", layout="mono")
        frame.sample_rate = 48000
        out += [bytes(p) for p in codec.encode(frame)]
    return out


def steps(voice: NDArray[np.int16]) -> int:
    return int(np.abs(np.diff(voice.astype(int))).max())


def test_decodes_one_tick_of_opus_to_1920_samples() -> None:
    voice, decoder = speech(25), OpusDecoder()
    out = np.concatenate([d for d in (decoder.decode(p) for p in encode(voice)) if d is not None])
    assert out.dtype == np.int16 and len(out) == 25 * 1920
    assert 0.5 < out[9600:].std() / voice.reshape(-1)[9600:].std() < 1.5


def test_corrupt_opus_is_none_and_the_next_tick_decodes() -> None:
    rng, decoder, good = random.Random(3), OpusDecoder(), encode(speech(40))
    bad = [b"", b"\xff" * 50, b"\x03\xff", b"\x00", bytes(2000), good[0][:1]]
    for k, data in enumerate(good):
        heard = decoder.decode(bad[k % len(bad)] if k < len(bad) else rng.randbytes(rng.randrange(1, 200)))
        assert heard is None or heard.shape == (1920,)
        flipped = bytearray(data)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        decoder.decode(bytes(flipped))
        heard = decoder.decode(data)
        assert heard is not None and heard.shape == (1920,)


@pytest.mark.parametrize("pitch", [80.0, 140.0, 320.0])
@pytest.mark.parametrize("gone", [1, 2, 3, 10])
def test_seams_have_no_steps(pitch: float, gone: int) -> None:
    voice, concealer = speech(60, pitch), Concealer()
    out = np.concatenate([concealer.next(None if k >= 5 and k % 20 < gone else v) for k, v in enumerate(voice)])
    assert len(out) == voice.size
    assert steps(out) <= 1.3 * steps(voice.reshape(-1))


def test_concealment_sounds_at_first_and_fades() -> None:
    voice, concealer = speech(20), Concealer()
    for tick in voice:
        concealer.next(tick)
    first, second, third = (concealer.next(None).astype(float) for _ in range(3))
    level = voice[-1].astype(float).std()
    assert first[:480].std() > 0.5 * level
    assert 0 < second.std() < 0.5 * first.std()
    assert np.abs(third).max() == 0


def test_noise_and_silence_are_concealed_without_a_burst() -> None:
    rng = np.random.default_rng(4)
    noise, concealer = rng.normal(0, 2000, (10, 1920)).astype(np.int16), Concealer()
    for tick in noise:
        concealer.next(tick)
    out = concealer.next(None)
    assert np.abs(out).max() <= 1.3 * np.abs(noise).max()
    silent = Concealer()
    assert not silent.next(None).any()
    assert not silent.next(np.zeros(1920, np.int16)).any()


def test_ticks_of_any_length_join_without_steps() -> None:
    rng, voice, concealer = random.Random(1), speech(100), Concealer()
    lengths = [rng.choice([1900, 1910, 1920, 1958, 1997]) for _ in voice]
    parts = [concealer.next(v, n) for v, n in zip(voice, lengths, strict=True)]
    assert [len(p) for p in parts] == lengths
    assert steps(np.concatenate(parts)) <= 1.3 * steps(voice.reshape(-1))


def test_skipped_and_lengthened_ticks_join_without_steps() -> None:
    voice, concealer = speech(100), Concealer()
    out = []
    for k, tick in enumerate(voice):
        if k % 10 == 4:
            out.append(concealer.next(tick, 0))
        elif k % 10 == 7:
            out.append(concealer.next(None, 3840))
        else:
            out.append(concealer.next(tick))
    joined = np.concatenate(out)
    assert len(joined) == 100 * 1920
    assert steps(joined) <= 1.3 * steps(voice.reshape(-1))


def test_a_voice_that_is_there_passes_unchanged() -> None:
    voice, concealer = speech(10), Concealer()
    assert all((concealer.next(tick) == tick).all() for tick in voice)
