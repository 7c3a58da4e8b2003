from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from codec_models.engines import choice
from codec_models.engines.choice import BACKENDS, Candidate, NotHere, choose
from codec_models.engines.engine import Engine
from codec_models.errors import UserError
from codec_models.reconstruction import reconstructor

pytestmark = pytest.mark.unit

pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[receiver]'")

from codec_models.engines.onnx_engine import OnnxEngine


def failing(error: Exception) -> Any:
    def make(precision: str | None, threads: int) -> Engine:
        raise error

    return make


def only(monkeypatch: pytest.MonkeyPatch, *made: Candidate) -> None:
    monkeypatch.setattr(choice, "candidates", lambda: iter(made))


WORKS = Candidate("onnx", "ONNX Runtime", lambda precision, threads: OnnxEngine(threads))


class Wrong(OnnxEngine):
    backend = "wrong fp32"

    def run(self, network: str, inputs: Any) -> Any:
        return {name: value * 1.1 for name, value in super().run(network, inputs).items()}


def test_what_cannot_be_used_is_left_out_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    only(
        monkeypatch,
        Candidate("torch", "torch on the GPU", failing(NotHere())),
        Candidate("torch", "torch", failing(ModuleNotFoundError(name="torch"))),
        Candidate("openvino", "OpenVINO", lambda precision, threads: Wrong(threads)),
        WORKS,
    )
    said: list[str] = []
    assert choose("auto", said.append).backend == "onnxruntime fp32"
    # a package that is not installed is no failure, an engine that computes something else is one
    assert len(said) == 1 and said[0].startswith("not used: OpenVINO: wrong fp32 on cpu computes something else")


def test_what_was_asked_for_by_name_must_work(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, Candidate("torch", "torch", failing(ModuleNotFoundError(name="torch"))), WORKS)
    assert choose("onnx").backend == "onnxruntime fp32"
    with pytest.raises(UserError, match=r"torch needs the package torch.*pip install") as caught:
        choose("torch")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="none for this device"):
        choose("openvino")
    with pytest.raises(UserError, match="no backend called cuda; known are auto"):
        choose("cuda")
    with pytest.raises(UserError, match="no precision called fp64; known are fp32"):
        choose("auto", precision="fp64")


def test_the_still_is_shown_where_no_engine_works(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, Candidate("openvino", "OpenVINO", failing(ModuleNotFoundError(name="openvino"))))
    said: list[str] = []
    assert reconstructor("auto", said.append).backend == "still-colour"
    assert len(said) == 1 and "OpenVINO needs the package openvino" in said[0] and "received colours" in said[0]
    for arguments in ({"name": "network"}, {"backend": "openvino"}):
        with pytest.raises(UserError, match="needs the package openvino"):
            reconstructor(say=said.append, **arguments)  # type: ignore[arg-type]
    assert len(said) == 1


def engines_here() -> Iterator[str]:
    for candidate in choice.candidates():
        try:
            yield candidate.make(None, 1).backend
        except (ImportError, NotHere, UserError):
            continue


def test_the_quickest_that_is_here_is_taken() -> None:
    first = next(engines_here())
    said: list[str] = []
    assert choose("auto", said.append).backend == first and not said
    assert reconstructor(say=said.append).backend == first + " + teeth" and not said
    assert {c.name for c in choice.candidates()} | {"auto"} == set(BACKENDS)
