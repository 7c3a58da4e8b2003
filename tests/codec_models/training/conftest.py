from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")
torch.set_num_threads(1)  # the networks are tiny, and threads that wait for each other are not
sys.path.insert(0, str(Path(__file__).parent))  # tiny_clips.py, tiny_upsampler.py

from tiny_clips import make_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four short clips of two painted people with manifest.json and labels.npz."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def corpus(clips: Path):  # type: ignore[no-untyped-def]
    from codec_models.training.corpus import Corpus, read_manifest
    from codec_models.training.labels import Labels

    return Corpus(read_manifest(clips), Labels(clips / "labels.npz"), torch.device("cpu"))


@pytest.fixture(scope="session")
def small_corpus(clips: Path):  # type: ignore[no-untyped-def]
    """The same clips without their pictures."""
    from codec_models.training.corpus import Corpus, read_manifest
    from codec_models.training.labels import Labels

    return Corpus(read_manifest(clips), Labels(clips / "labels.npz"), torch.device("cpu"), 0, pictures=False)
