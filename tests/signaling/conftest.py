from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from signaling.main import Server, listen, make_server
from signaling.server import ServerConfig


@dataclass
class Running:
    """A signaling server in a thread of its own, on a free port of the loopback interface."""

    server: Server
    thread: threading.Thread
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(5)
        assert not self.thread.is_alive(), "the server did not stop"


def start(config: ServerConfig, port: int = 0) -> Running:
    sock = listen("127.0.0.1", port)
    port = sock.getsockname()[1]
    server = make_server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    return Running(server, thread, port)


@pytest.fixture
def run_server() -> Iterator[Callable[..., Running]]:
    """Starts signaling servers; stops those that still run when the test ends."""
    with contextlib.ExitStack() as stack:

        def run(config: ServerConfig | None = None, port: int = 0) -> Running:
            running = start(config or ServerConfig(wait_s=1.0), port)
            stack.callback(running.stop)
            return running

        yield run


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"
