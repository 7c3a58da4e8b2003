from __future__ import annotations

import subprocess
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from codec_models.errors import UserError
from sender.source import FileSource

pytestmark = pytest.mark.unit


def write_film(
    path: Path, seconds: float = 2.0, fps: int = 30, video: bool = True, audio: bool = True, noise: bool = False
) -> Path:
    """A film whose brightness is 40 + 3 x frame number, with a 1 kHz tone from 1.0 s on (44.1 kHz stereo)."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        if video:
            pictures = out.add_stream("mpeg4", rate=fps)
            pictures.width = pictures.height = 64
            pictures.pix_fmt = "yuv420p"
            pictures.bit_rate = 2_000_000
            pictures.gop_size = 10
        if audio:
            sound = out.add_stream("aac", rate=44100)
            sound.layout = "stereo"
        if video:
            for k in range(round(seconds * fps)):
                picture = np.full((64, 64, 3), min(40 + 3 * k, 255), np.uint8)
                if noise:
                    picture = rng.integers(0, 256, picture.shape, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, fps)
                out.mux(pictures.encode(frame))
            out.mux(pictures.encode(None))
        if audio:
            time = np.arange(round(seconds * 44100)) / 44100
            tone = np.where(time >= 1.0, 0.5 * np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
            out.mux(sound.encode(frame))
            out.mux(sound.encode(None))
    return path


def test_ticks_hold_the_picture_nearest_to_their_end_and_their_own_voice(tmp_path: Path) -> None:
    ticks = list(FileSource(write_film(tmp_path / "a.mp4")))
    assert [t.index for t in ticks] == list(range(len(ticks)))
    assert 50 <= len(ticks) <= 52  # AAC pads its end
    for tick in ticks[:20]:
        assert tick.picture is not None and tick.picture.shape == (64, 64, 3)
        nearest = np.floor((tick.index + 1) * 0.04 * 30 + 0.5)
        assert abs((tick.picture.mean() - 40) / 3 - nearest) < 1.01  # the coder's error is under a grey level
    voice = np.concatenate([t.voice for t in ticks]).astype(float)
    assert ticks[0].voice.shape == (1920,) and ticks[0].voice.dtype == np.int16
    onset = int(np.argmax(np.abs(voice) > 4000))
    assert abs(onset / 48000 - 1.0) < 0.002
    spectrum = np.abs(np.fft.rfft(voice[onset + 4800 : onset + 24000]))
    assert abs(np.argmax(spectrum) / 0.4 - 1000) < 5


def test_slow_films_repeat_pictures(tmp_path: Path) -> None:
    ticks = list(FileSource(write_film(tmp_path / "a.mp4", fps=10, audio=False), on_warning=lambda _: None))
    levels = [round(float(t.picture.mean())) for t in ticks if t.picture is not None]
    assert len(ticks) == 50
    assert sorted(levels) == levels and 18 <= len(set(levels)) <= 22


def test_loop_starts_again(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mp4", seconds=0.4)
    once = len(list(FileSource(film)))
    ticks = list(islice(FileSource(film, loop=True), 3 * once))
    assert [t.index for t in ticks] == list(range(3 * once))
    assert np.array_equal(ticks[0].picture, ticks[once].picture)


def test_a_film_without_sound_is_silent_and_says_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    ticks = list(FileSource(write_film(tmp_path / "a.mp4", audio=False), on_warning=said.append))
    assert len(said) == 1 and "no sound" in said[0]
    assert len(ticks) == 50 and not any(t.voice.any() for t in ticks)


def test_bad_files_are_one_plain_line(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("this is no film")
    bad = [tmp_path / "absent.mp4", tmp_path, text, write_film(tmp_path / "sound.mp4", video=False)]
    for path in bad:
        with pytest.raises(UserError) as caught:
            list(FileSource(path))
        assert "\n" not in str(caught.value)


def test_a_damaged_middle_is_stepped_over(tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", noise=True)
    whole = len(list(FileSource(film)))
    data = bytearray(film.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    film.write_bytes(data)
    ticks = list(FileSource(film))
    assert whole - 15 <= len(ticks) <= whole
    assert ticks[-1].picture is not None
    voice = np.concatenate([t.voice for t in ticks[-15:-3]])
    assert np.abs(voice).max() > 4000  # the sound after the damage is there


def test_pictures_of_a_phone_stand_upright(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    film, lying = tmp_path / "a.mp4", tmp_path / "lying.mp4"
    picture = np.zeros((64, 128, 3), np.uint8)
    picture[:32, :32] = 255  # top left
    with av.open(str(film), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 64, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    options = ["-loglevel", "error", "-display_rotation", "90", "-i", str(film), "-c", "copy", str(lying)]
    subprocess.run([ffmpeg, *options], check=True)
    (tick,) = FileSource(lying, on_warning=lambda _: None)
    assert tick.picture is not None and tick.picture.shape == (128, 64, 3)
    assert tick.picture[96:, :32].mean() > 200 > 50 > tick.picture[:32, :32].mean()  # turned counterclockwise


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2560, 1280, "yuv420p"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((1280, 2560, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    (tick,) = FileSource(tmp_path / "a.mp4", on_warning=lambda _: None)
    assert tick.picture is not None and tick.picture.shape == (960, 1920, 3)
