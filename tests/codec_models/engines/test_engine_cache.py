"""Engine files on disk, with bytes that stand for engines."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
from pathlib import Path

import pytest

from codec_models.engines.engine_cache import MAGIC, EngineCache, EngineKey, Refused, user_folder

pytestmark = pytest.mark.unit

KEY = EngineKey("tick", "fp16", "ab" * 32, "NVIDIA H100", "9.0", "10.13.3", "570.86", "1-4-8")
ENGINE = bytes(range(256)) * 40


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, lines: list[str]) -> EngineCache:
    return EngineCache(tmp_path / "engines", lines.append)


def stored(cache: EngineCache) -> Path:
    (path,) = cache.folder.glob("*.engine")
    return path


def test_what_is_kept_comes_back(cache: EngineCache, lines: list[str]) -> None:
    assert cache.read(KEY) is None
    cache.write(KEY, ENGINE)
    assert cache.read(KEY) == ENGINE
    cache.write(KEY, ENGINE[::-1])
    assert cache.read(KEY) == ENGINE[::-1]
    cache.drop(KEY)
    cache.drop(KEY)
    assert cache.read(KEY) is None and not lines
    assert not list(cache.folder.iterdir())


def test_a_refusal_is_remembered(cache: EngineCache) -> None:
    cache.refuse(KEY, "its picture is off\nby 40 levels" + "!" * 1000)
    known = cache.read(KEY)
    assert isinstance(known, Refused) and known.reason.startswith("its picture is off by 40 levels")
    assert len(known.reason) <= 400
    cache.write(KEY, ENGINE)
    assert cache.read(KEY) == ENGINE


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(EngineKey)])
def test_another_gpu_version_or_network_is_another_engine(cache: EngineCache, field: str) -> None:
    cache.write(KEY, ENGINE)
    other = dataclasses.replace(KEY, **{field: "other"})
    assert other.name != KEY.name and cache.read(other) is None
    # a file of the other one under this one's name: copied from another machine
    os.replace(cache.folder / KEY.name, cache.folder / other.name)
    assert cache.read(other) is None


def test_every_cut_is_noticed(cache: EngineCache, lines: list[str]) -> None:
    cache.write(KEY, ENGINE)
    path = stored(cache)
    whole = path.read_bytes()
    for size in (0, 3, len(MAGIC), len(MAGIC) + 2, len(MAGIC) + 4, 40, len(whole) - len(ENGINE), len(whole) - 1):
        path.write_bytes(whole[:size])
        assert cache.read(KEY) is None, size
    assert len(lines) == 8 and all("\n" not in line and "built again" in line for line in lines)
    cache.write(KEY, ENGINE)
    assert cache.read(KEY) == ENGINE


def test_every_flipped_bit_is_noticed(cache: EngineCache) -> None:
    cache.write(KEY, ENGINE)
    path = stored(cache)
    whole = path.read_bytes()
    for at in [*range(0, 60), *range(60, len(whole), 211), len(whole) - 1]:
        broken = bytearray(whole)
        broken[at] ^= 0x10
        path.write_bytes(broken)
        assert cache.read(KEY) in (None, ENGINE), at
        # white space and the order of the header's entries are not looked at, all else is
        if broken[len(MAGIC) + 4 + 60 :] != whole[len(MAGIC) + 4 + 60 :]:
            assert cache.read(KEY) is None, at


@pytest.mark.parametrize("header", [b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 60000, b'{"key": 3}'])
def test_other_headers_are_refused(cache: EngineCache, header: bytes, lines: list[str]) -> None:
    cache.folder.mkdir(parents=True)
    path = cache.folder / KEY.name
    path.write_bytes(MAGIC + struct.pack("<I", len(header)) + header + ENGINE)
    path.chmod(0o600)
    assert cache.read(KEY) is None and len(lines) == 1


def test_an_empty_engine_is_none(cache: EngineCache) -> None:
    cache.write(KEY, b"")
    assert cache.read(KEY) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX file modes")
def test_files_that_others_could_write_are_not_read(cache: EngineCache, lines: list[str]) -> None:
    cache.write(KEY, ENGINE)
    path = stored(cache)
    assert path.stat().st_mode & 0o077 == 0 and cache.folder.stat().st_mode & 0o077 == 0
    path.chmod(0o666)
    assert cache.read(KEY) is None and "others" in lines[-1]
    path.unlink()
    (cache.folder / "elsewhere").write_bytes(b"x")
    path.symlink_to(cache.folder / "elsewhere")
    assert cache.read(KEY) is None
    path.unlink()
    path.mkdir()
    assert cache.read(KEY) is None


def test_where_nothing_can_be_kept_it_is_said(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EngineCache(tmp_path / "file" / "engines", lines.append)
    cache.write(KEY, ENGINE)
    assert cache.read(KEY) is None
    assert "built again next time" in lines[0]


def test_a_header_tells_what_it_is_for(cache: EngineCache) -> None:
    cache.write(KEY, ENGINE)
    content = stored(cache).read_bytes()
    (length,) = struct.unpack("<I", content[8:12])
    header = json.loads(content[12 : 12 + length])
    assert header["key"] == dataclasses.asdict(KEY) and header["length"] == len(ENGINE)


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "pinhole-call" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".cache" / "pinhole-call" / "engines"
