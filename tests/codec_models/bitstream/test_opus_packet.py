from __future__ import annotations

import av
import numpy as np
import pytest

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.opus_packet import joined, samples
from codec_models.voice_encoder import VoiceEncoder

pytestmark = pytest.mark.unit


def tone(seconds: float) -> np.ndarray:
    t = np.arange(int(48_000 * seconds)) / 48_000
    return (8000 * np.sin(2 * np.pi * (180 + 60 * t) * t) * (0.2 + np.abs(np.sin(7 * t)))).astype(np.int16)


def decoded(packets: list[bytes]) -> np.ndarray:
    codec = av.AudioCodecContext.create("libopus", "r")
    codec.sample_rate, codec.layout = 48_000, "mono"
    codec.open()
    frames = [frame.to_ndarray().reshape(-1) for packet in packets for frame in codec.decode(av.Packet(packet))]
    return np.concatenate(frames)


@pytest.mark.parametrize("kbps", [6, 16, 40, 64])
def test_two_packets_of_20_ms_sound_as_one_of_40(kbps: float) -> None:
    encoder = VoiceEncoder(kbps, frame_ms=20)
    voice = tone(2.0)
    halves = [encoder.encode(voice[k : k + 960]) for k in range(0, len(voice), 960)]
    assert {samples(packet) for packet in halves} == {960}
    pairs = [joined(a, b) for a, b in zip(halves[::2], halves[1::2], strict=True)]
    whole = [packet for packet in pairs if packet is not None]
    assert len(whole) >= 0.9 * len(pairs)  # a change of configuration between two halves cannot be joined
    assert {samples(packet) for packet in whole} == {1920}
    if len(whole) == len(pairs):
        assert (decoded(whole) == decoded(halves)).all()


def test_lengths_by_configuration() -> None:
    for config, code, rest, expected in (
        (0, 0, b"", 480), (1, 0, b"", 960), (3, 0, b"", 2880), (13, 0, b"", 960), (16, 0, b"", 120), (31, 0, b"", 960),
        (1, 1, b"ab", 1920), (2, 2, b"\x01ab", 3840), (31, 3, b"\x06", 5760),
    ):  # fmt: skip
        assert samples(bytes([config << 3 | code]) + rest) == expected


def test_what_is_no_packet_is_told() -> None:
    three = 31 << 3 | 3
    for data in (b"", bytes([3]), bytes([three, 0]), bytes([three, 7]), bytes([3 << 3 | 3, 3]), bytes(6000)):
        with pytest.raises(BitstreamError):
            samples(data)


def test_what_cannot_be_joined() -> None:
    assert joined(b"", b"\x08a") is None
    assert joined(b"\x08a", b"\x0ca") is None  # mono and stereo
    assert joined(b"\x09ab", b"\x09ab") is None  # two frames each
    assert joined(b"\x08a", b"\x08b") == b"\x09ab"
    long = bytes([8]) + bytes(300)
    assert joined(long, b"\x08b") == bytes([10, 252, 12]) + bytes(300) + b"b"
