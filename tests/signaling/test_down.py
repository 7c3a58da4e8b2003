from __future__ import annotations

import asyncio
import itertools

import av
import numpy as np
import pytest

from codec_models.bitstream.opus_packet import samples
from signaling.down import Down

pytestmark = pytest.mark.unit
PICTURE = np.full((256, 256, 3), (200, 60, 30), np.uint8)
LOW = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


def test_pictures_keep_their_colours_and_never_go_back_in_time() -> None:
    async def run() -> None:
        down, times = Down(), []
        # an older stream's last tick, a new stream, a pause, a jump back
        for tick in (500, 501, 0, 1, 2, 3, 400, 401, 5, 6):
            down.picture(tick, PICTURE, LOW)
            frame = await down.video.recv()
            times.append(frame.pts)
            assert frame.format.name == "yuv420p" and (frame.width, frame.height) == (256, 256)
            assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - PICTURE).mean() < 4
        assert all(a < b for a, b in itertools.pairwise(times)) and times[0] >= 0
        assert times[4] - times[3] == 3600  # ticks in a row are 40 ms apart

    asyncio.run(run())


def test_only_the_newest_picture_waits() -> None:
    async def run() -> None:
        down = Down()
        for tick in range(5):
            down.picture(tick, np.full((256, 256, 3), 40 * tick, np.uint8), None)
        frame = await down.video.recv()
        assert abs(frame.to_ndarray(format="rgb24").mean() - 160) < 4
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(down.video.recv(), 0.05)

    asyncio.run(run())


def test_8x8_pictures_go_with_every_second_one_unless_unwanted() -> None:
    async def run() -> None:
        for wanted, expected in ((True, 5), (False, 0)):
            down, sent = Down(), list[bytes]()
            down.lows, down.send_low = wanted, sent.append
            for tick in range(10):
                down.picture(tick, PICTURE, LOW)
            down.picture(10, PICTURE, None)
            assert len(sent) == expected
            if sent:
                assert sent[-1] == (9).to_bytes(4, "big") + LOW.tobytes()

    asyncio.run(run())


def test_voice_of_any_length_becomes_packets_of_20_ms() -> None:
    async def run() -> None:
        down = Down()
        tone = (8000 * np.sin(np.arange(48_000) * 2 * np.pi * 300 / 48_000)).astype(np.int16)
        at, lengths = 0, itertools.cycle((1920, 1887, 0, 1958, 1920))
        while at < len(tone) - 2000:
            size = next(lengths)
            down.speak(tone[at : at + size])
            at += size
        packets = [await down.voice.recv() for _ in range(25)]  # what waits is bounded: the oldest are gone
        assert {samples(bytes(p)) for p in packets} == {960}
        assert all(b.pts - a.pts == 960 for a, b in itertools.pairwise(packets))
        decoder = av.AudioCodecContext.create("libopus", "r")
        decoder.sample_rate, decoder.layout = 48_000, "mono"
        decoder.open()
        heard = np.concatenate([f.to_ndarray().ravel() for p in packets for f in decoder.decode(p)]).astype(float)
        assert 4500 < heard[4800:].std() < 6500

    asyncio.run(run())


def test_nothing_is_kept_after_the_end() -> None:
    async def run() -> None:
        down, sent = Down(), list[bytes]()
        down.send_low = sent.append
        down.close()
        for tick in range(4):
            down.picture(tick, PICTURE, LOW)
        assert not sent
        with pytest.raises(Exception):  # noqa: B017  aiortc's MediaStreamError has no more to tell
            await asyncio.wait_for(down.video.recv(), 1)

    asyncio.run(run())
