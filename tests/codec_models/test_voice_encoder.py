from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from codec_models.errors import UserError
from codec_models.voice_encoder import VoiceEncoder
from sender.demo_voice import DemoVoice
from sender.source import FileSource

pytestmark = pytest.mark.unit

CLIPS = Path(__file__).parents[2] / "../shared/clips/dev"


def demo(ticks: int) -> list[NDArray[np.int16]]:
    voice = DemoVoice()
    return [voice.tick()[0] for _ in range(ticks)]


@pytest.mark.parametrize("kbps", [6, 12, 24])
def test_the_average_stays_below_the_nominal_rate(kbps: int) -> None:
    encoder = VoiceEncoder(kbps)
    sizes = [len(encoder.encode(v)) for v in demo(500)]
    assert all(sizes)
    assert 0.5 * kbps < np.mean(sizes) * 8 / 40 <= kbps


@pytest.mark.parametrize("kbps", [6, 12])
def test_the_average_of_real_speech_stays_below_the_nominal_rate(kbps: int) -> None:
    clips = sorted(CLIPS.glob("*.mp4"))[:2] if CLIPS.is_dir() else []
    if not clips:
        pytest.skip("no clips in ../shared/clips/dev")
    for clip in clips:
        encoder = VoiceEncoder(kbps)
        sizes = [len(encoder.encode(t.voice)) for t in FileSource(clip)]
        assert np.mean(sizes) * 8 / 40 <= kbps


def test_every_packet_is_one_frame_of_40_ms_that_decodes_to_the_voice() -> None:
    encoder, decoder = VoiceEncoder(32), av.CodecContext.create("libopus", "r")
    decoder.sample_rate = 48000
    decoder.layout = "mono"
    voice = demo(60)
    out = []
    for tick in voice:
        data = encoder.encode(tick)
        assert data[0] >> 2 & 1 == 0  # mono
        (frame,) = decoder.decode(av.Packet(data))
        assert frame.samples == 1920
        out.append(frame.to_ndarray().reshape(-1).astype(float))
    sent, got = np.concatenate(voice).astype(float), np.concatenate(out)
    lag = np.argmax([np.dot(sent[: -k or None], got[k:]) for k in range(0, 960, 8)]) * 8
    assert lag < 800  # the coder's look-ahead
    assert np.corrcoef(sent[: -lag or None], got[lag:])[0, 1] > 0.8


@pytest.mark.parametrize("kbps", [0, 5.9, 65, float("nan")])
def test_rates_out_of_range_are_refused(kbps: float) -> None:
    with pytest.raises(UserError, match="kb/s"):
        VoiceEncoder(kbps)


def test_ticks_of_the_wrong_size_are_refused() -> None:
    for bad in (np.zeros(960, np.int16), np.zeros(1920, np.float32)):
        with pytest.raises(ValueError):
            VoiceEncoder().encode(bad)  # type: ignore[arg-type]
