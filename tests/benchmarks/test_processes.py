"""Child processes: their ends, their failures, and that none is left behind. The children are small fakes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks.processes import STOP_S, Processes, free_port
from codec_models.errors import UserError

pytestmark = pytest.mark.unit

WRITES_AT_THE_END = """
    import signal, sys, time
    print("ready", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        open(sys.argv[1], "w").write("saved")
"""
STUBBORN = """
    import signal, time
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(60)
"""


def script(text: str, *arguments: str) -> list[str]:
    return ["-c", textwrap.dedent(text), *arguments]


def until_ready(processes: Processes, *names: str) -> None:
    end = time.monotonic() + 10
    while any("ready" not in processes.children[n].lines for n in names):
        assert time.monotonic() < end, "the fake children do not start"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[-1].split()[0] != "Z" if Path("/proc").is_dir() else True


def test_output_of_both_streams_reaches_the_listener() -> None:
    heard: list[tuple[str, str]] = []
    with Processes(lambda name, line: heard.append((name, line))) as processes:
        processes.start("a", script("import sys; print('out'); print('err', file=sys.stderr); print('live\\rline')"))
        processes.wait("a", 10)
    assert set(heard) == {("a", "out"), ("a", "err"), ("a", "live"), ("a", "line")}


def test_a_live_line_on_a_terminal_is_heard_at_once() -> None:
    heard: list[str] = []
    live = r"""
        import sys, time
        print("terminal" if sys.stdout.isatty() else "pipe")
        sys.stdout.write("\r25 fps \u00b5\x1b[K")
        sys.stdout.flush()
        time.sleep(60)
    """
    with Processes(lambda name, line: heard.append(line)) as processes:
        processes.start("receiver", script(live), terminal=True)
        end = time.monotonic() + 10
        while len(heard) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert heard[:2] == ["terminal", "25 fps µ"]


def test_a_failing_child_ends_the_wait_with_its_own_line() -> None:
    with Processes() as processes:
        other = processes.start("receiver", script(WRITES_AT_THE_END, os.devnull))
        processes.start("sender", script("import sys; print('noise'); sys.exit('error: no file at x: check the path')"))
        with pytest.raises(UserError, match=r"^sender: no file at x: check the path$"):
            processes.wait("receiver", 10)
    assert other.status is not None


def test_a_prefix_becomes_the_interpreter() -> None:
    with Processes() as processes:
        child = processes.start("a", script("import os; print(os.environ['WHERE'])"), prefix=["env", "WHERE=inside"])
        processes.wait("a", 10)
    assert list(child.lines) == ["inside"]


def test_a_child_that_says_nothing_is_told_by_its_status() -> None:
    with Processes() as processes:
        processes.start("sender", script("import os; os._exit(3)"))
        with pytest.raises(UserError, match="status 3"):
            processes.wait("sender", 10)


def test_waiting_has_an_end() -> None:
    with Processes() as processes:
        processes.start("receiver", script(WRITES_AT_THE_END, os.devnull))
        with pytest.raises(UserError, match="has not ended"):
            processes.wait("receiver", 0.3)


def test_a_child_that_leaves_the_others_waiting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.processes.ALONE_S", 0.2)
    with Processes() as processes:
        processes.start("receiver", script(WRITES_AT_THE_END, os.devnull))
        processes.start("sender", script("print('nothing to send')"))
        with pytest.raises(UserError, match=r"^sender has ended before receiver was done: nothing to send$"):
            processes.wait("receiver", 10)


def test_stop_lets_children_write_and_stops_the_named_one_last(tmp_path: Path) -> None:
    ends = """
        import sys, time
        print("ready", flush=True)
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.2)
            open(sys.argv[1], "w").write(str(time.monotonic()))
    """
    with Processes() as processes:
        for name in ("signaling", "receiver", "sender"):
            processes.start(name, script(ends, str(tmp_path / name)))
        until_ready(processes, "signaling", "receiver", "sender")
    at = {p.name: float(p.read_text()) for p in tmp_path.iterdir()}
    assert at["signaling"] > max(at["receiver"], at["sender"])


def test_stubborn_children_are_killed_with_their_own_children() -> None:
    parent = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {textwrap.dedent(STUBBORN)!r}])
        print(child.pid, flush=True)
        {textwrap.dedent(STUBBORN).strip().replace(chr(10), chr(10) + "        ")}
    """
    processes = Processes()
    with processes:
        child = processes.start("receiver", script(parent))
        until_ready(processes, "receiver")
        grandchild = int(child.lines[0])
        start = time.monotonic()
    assert time.monotonic() - start < STOP_S + 5  # bounded; the exact figure is the machine's affair
    assert child.status == -signal.SIGKILL
    end = time.monotonic() + 5
    while alive(grandchild):
        assert time.monotonic() < end, "an orphan is left"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children whose parent is killed outright")
def test_children_do_not_outlive_a_killed_parent() -> None:
    parent = """
        import time
        from benchmarks.processes import Processes
        processes = Processes()
        print(processes.start("a", ["-c", "import time; time.sleep(60)"]).process.pid, flush=True)
        time.sleep(60)
    """
    run = subprocess.Popen([sys.executable, *script(parent)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    run.kill()
    run.wait()
    run.stdout.close()
    end = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < end, "an orphan is left"
        time.sleep(0.02)


def test_wait_for_port_sees_a_listener_and_a_failure() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        Processes().wait_for_port(port, 5)
        asked: list[int] = []

        def elsewhere(wanted: int) -> socket.socket:
            asked.append(wanted)
            if len(asked) < 3:
                raise ConnectionRefusedError
            return socket.create_connection(("127.0.0.1", port))

        Processes().wait_for_port(7, 5, elsewhere)
        assert asked == [7, 7, 7]
    with Processes() as processes:
        processes.start("signaling", script("import sys; sys.exit('error: the port is taken')"))
        with pytest.raises(UserError, match="signaling: the port is taken"):
            processes.wait_for_port(free_port(), 10)
