from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

# Three times as much as is asked for in advance: more than that must be kept too.
MEASURE = """
import os
from pathlib import Path
import numpy as np

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

blocks = [np.ones(4 << 20, np.uint8) for _ in range(48)]
full = resident()
del blocks
print(round(full - resident()))
"""


def answers(code: str) -> list[str]:
    """Lines that a process of its own prints: what is asked of the allocator holds for the rest of its life."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_says_whether_it_can_and_can_be_asked_again() -> None:
    code = "from codec_models.memory import keep_memory\nprint(keep_memory(), keep_memory())"
    (line,) = answers(code)
    assert line in ("True True", "False False")
    if sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc":
        assert line == "True True"


def test_elsewhere_nothing_is_asked() -> None:
    code = "import sys\nsys.platform = 'darwin'\nfrom codec_models.memory import keep_memory\nprint(keep_memory())"
    assert answers(code) == ["False"]


def test_freed_memory_stays_in_the_process() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    kept, *given = answers("from codec_models.memory import keep_memory\nprint(keep_memory())" + MEASURE)
    if kept != "True":
        pytest.skip("needs glibc")
    assert int(given[0]) < 8
    assert int(answers(MEASURE)[0]) > 180, "without it the system gets the megabytes back"
