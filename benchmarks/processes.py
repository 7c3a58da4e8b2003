"""A whole call on one machine: signaling, receiver and sender as child processes on loopback.

The children run in sessions of their own, so that Ctrl-C reaches them only through `Processes.stop`, in the order that
lets them write their files: sender and receiver first, signaling last. Within two seconds all are gone.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any

from codec_models.errors import UserError

STOP_S = 1.9
"""After this long from `stop`, what still runs is killed."""
ALONE_S = 5.0
"""So long a process may go on when another one that it needs has ended."""
_KEPT_LINES = 200
_LONGEST_LINE = 10_000
_LINE_END = re.compile("[\r\n]|\x1b\\[K")
"""A live line ends with "erase to the end of the line" before its successor begins with a carriage return."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

Listener = Callable[[str, str], None]
"""Called from a reader thread with the process's name and one line of its output."""


@dataclass
class Child:
    """One process. lines: the last 200 of its output, both streams together."""

    name: str
    process: subprocess.Popen[bytes]
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))
    reader: threading.Thread | None = None

    @property
    def status(self) -> int | None:
        return self.process.poll()

    def failure(self) -> str:
        """The one line that says what went wrong."""
        if self.reader is not None:
            self.reader.join(0.5)
        lines = [line.strip() for line in self.lines if line.strip()]
        told = [line for line in lines if line.startswith("error:")]
        if told:
            return told[-1].removeprefix("error:").strip()
        return lines[-1] if lines else f"status {self.process.returncode} and no word"


class Processes:
    """`with Processes() as p: p.start(...); p.wait(...)`; leaving the block ends whatever still runs.

    listener gets every line of output; without one it is kept for `Child.failure` only.
    """

    def __init__(self, listener: Listener | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._listener = listener
        self._environment = {
            **os.environ,
            # two OpenMP threads that spin beside another busy process collapse
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self.children: dict[str, Child] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str], terminal: bool = False, prefix: Sequence[str] = ()) -> Child:
        """Start `python ARGUMENTS...` with this interpreter. command: the arguments, such as ["-m", "sender.main"].

        terminal: the child writes to a pseudo-terminal, so that it redraws its live line as often as for a person.
        prefix: a command that becomes the interpreter, such as `ip netns exec NAME`.
        """
        ours, theirs = os.openpty() if terminal else os.pipe()
        try:
            process = subprocess.Popen(
                [*prefix, sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent if _LIBC is not None else None,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        child = Child(name, process)
        child.reader = threading.Thread(target=self._read, args=(child, ours), daemon=True)
        child.reader.start()
        self.children[name] = child
        return child

    def wait_for_port(
        self, port: int, seconds: float = 20.0, connect: Callable[[int], socket.socket] | None = None
    ) -> None:
        """Until something listens on the port. Raises UserError when a child fails or time is over.

        connect: port -> a connected socket, or OSError; to loopback where there is none.
        """
        connect = connect or _to_loopback
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            with contextlib.suppress(OSError), connect(port):
                return
            time.sleep(0.05)
        raise UserError(f"nothing answers on port {port} after {seconds:.0f} s: run it again with a less busy machine")

    def wait(self, name: str, seconds: float | None = None) -> None:
        """Until the named child has ended well.

        Raises UserError with the failing process's own line when any child fails, when one of the others has ended
        well and the named child goes on without it, and when time is over.
        """
        end = None if seconds is None else time.monotonic() + seconds
        alone: float | None = None
        while self.children[name].status is None:
            self.check()
            ended = [c for c in self.children.values() if c.status == 0 and c.name != name]
            if ended:
                alone = alone or time.monotonic() + ALONE_S
                if time.monotonic() > alone:
                    raise UserError(f"{ended[0].name} has ended before {name} was done: {ended[0].failure()}")
            if end is not None and time.monotonic() > end:
                last = list(self.children[name].lines)[-1:]
                raise UserError(f"{name} has not ended after {seconds:.0f} s; its last line: {' '.join(last)}")
            time.sleep(0.05)
        self.check()

    def check(self) -> None:
        """Raises UserError when a child has ended with a non-zero status."""
        for child in self.children.values():
            if child.status not in (None, 0):
                raise UserError(f"{child.name}: {child.failure()}")

    def stop(self, last: str = "signaling") -> None:
        """Interrupt all children, the one named `last` after the others; kill what is left after STOP_S seconds."""
        with _undisturbed():
            end = time.monotonic() + STOP_S
            others = [c for c in self.children.values() if c.name != last]
            self._end(others, end - 0.3)
            self._end(list(self.children.values()), end)
            for child in self.children.values():
                if child.status is None:
                    _signal_group(child.process, signal.SIGKILL)
                child.process.wait()
                if child.reader is not None:
                    child.reader.join(1.0)

    def end(self, name: str, seconds: float = STOP_S) -> None:
        """Interrupt one child and give it time to write its files."""
        self._end([self.children[name]], time.monotonic() + seconds)

    def _end(self, children: Sequence[Child], end: float) -> None:
        for child in children:
            if child.status is None:
                _signal_group(child.process, signal.SIGINT)
        while any(c.status is None for c in children) and time.monotonic() < end:
            time.sleep(0.02)

    def _read(self, child: Child, source: int) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pending = ""
        while True:
            try:
                data = os.read(source, 65536)
            except OSError:  # Linux: the last writer of a pseudo-terminal is gone
                data = b""
            *lines, pending = _LINE_END.split(pending + decoder.decode(data, final=not data))
            for line in [*lines, *([] if data else [pending])]:
                if line:
                    child.lines.append(line)
                    if self._listener is not None:
                        self._listener(child.name, line)
            pending = pending[-_LONGEST_LINE:]
            if not data:
                os.close(source)
                return


def _to_loopback(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 0.5)


def prefixed(name: str, line: str) -> str:
    """A child's line with its name before it, unless it already says who speaks."""
    return line if line.startswith(f"{name}:") else f"{name}: {line}"


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that both take the same way out."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not cut the ending short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _die_with_parent() -> None:
    # Linux: a child does not outlive us even when we are killed outright
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
