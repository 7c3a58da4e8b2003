"""The link with delay: its draws, and a real one between two namespaces where this machine can make it."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks import link as link_module
from benchmarks.link import Delay, Link, LinkConfig, Unavailable, check, open_link, remove_stale
from benchmarks.processes import Child, Processes

ROOT = Path(__file__).parents[2]


def namespaces() -> set[str]:
    folder = Path("/var/run/netns")
    return {p.name for p in folder.iterdir() if p.name.startswith("pinhole-")} if folder.is_dir() else set()


class Broken(Processes):
    """The process that carries the packets is given something that it does not know."""

    def start(self, name: str, command: Sequence[str], terminal: bool = False, prefix: Sequence[str] = ()) -> Child:
        return super().start(name, [*command, "--bogus"], terminal, prefix)


@pytest.fixture
def link() -> Iterator[Link]:
    try:
        with open_link() as made:
            yield made
    except Unavailable as e:
        pytest.skip(str(e))


@pytest.mark.unit
def test_delays_are_uniform_in_their_bounds_and_never_overtake() -> None:
    delay = Delay(LinkConfig(50, 20, 20), seed=3)
    entered = [k * 0.02 + 0.001 for k in range(5000)]
    left = [delay.leaves(t) for t in entered]
    waits = [b - a for a, b in zip(entered, left, strict=True)]
    assert left == sorted(left)
    assert 0.030 <= min(waits) < 0.033 and 0.067 < max(waits) <= 0.070
    drawn = [Delay(LinkConfig(50, 20, 20), 3).leaves(t) - t for t in entered]
    assert statistics.mean(drawn) == pytest.approx(0.050, abs=0.001)
    assert statistics.pstdev(drawn) == pytest.approx(0.020 / 3**0.5, abs=0.001)


@pytest.mark.unit
def test_what_is_sent_together_waits_alike_and_a_seed_gives_the_same_link() -> None:
    one, same, other = (Delay(LinkConfig(), seed) for seed in (1, 1, 2))
    first = [one.leaves(t) for t in (1.0001, 1.0002, 1.0003)]
    assert [t - 1 for t in first] == pytest.approx([first[0] - 1 + 0.0001 * k for k in range(3)])
    assert [same.leaves(t) for t in (1.0001, 1.0002, 1.0003)] == first
    assert other.leaves(1.0001) != first[0]


@pytest.mark.unit
def test_links_that_cannot_be_are_refused() -> None:
    for delay, jitter, slot in ((10, 20, 20), (50, -1, 20), (50, 20, 0), (float("nan"), 0, 20)):
        with pytest.raises(ValueError, match="no link"):
            LinkConfig(delay, jitter, slot)


@pytest.mark.unit
def test_a_machine_that_cannot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unavailable, match="darwin"):
        check()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)
    with pytest.raises(Unavailable, match="need root"):
        check()
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr("benchmarks.link.shutil.which", lambda name: None)
    with pytest.raises(Unavailable, match="iproute2"), open_link():
        pytest.fail("made a link")


@pytest.mark.net
def test_an_echo_takes_the_delay_of_both_ways(link: Link) -> None:
    assert any(str(os.getpid()) in name for name in namespaces())
    near, far = (link.make_socket(side, socket.SOCK_DGRAM) for side in ("sender", "receiver"))
    with near, far:
        far.bind((link.address("receiver"), 5000))
        for end in (near, far):
            end.settimeout(10)
        waits, order = [], []
        for k in range(30):
            began = time.monotonic()
            near.sendto(str(k).encode(), (link.address("receiver"), 5000))
            data, address = far.recvfrom(100)
            far.sendto(data, address)
            order.append(int(near.recv(100)))
            waits.append(time.monotonic() - began)
    assert address[0] == link.address("sender") and order == list(range(30))
    # a busy machine only adds to what the link holds a packet back, so only the fastest says how long that is
    assert min(waits) >= 2 * 0.030
    assert min(waits) < 2 * 0.070


@pytest.mark.net
def test_the_outside_is_not_inside(link: Link) -> None:
    """Sockets of the namespaces see the link alone; those of this process do not see it."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, link.make_socket("sender", socket.SOCK_STREAM) as inside, pytest.raises(OSError):
        inside.settimeout(2)
        inside.connect(server.getsockname())
    with link.make_socket("receiver", socket.SOCK_STREAM) as listening:
        listening.bind((link.address("receiver"), 0))
        listening.listen()
        link.probe("receiver")(listening.getsockname()[1]).close()
        with link.make_socket("sender", socket.SOCK_STREAM) as across:
            across.settimeout(10)
            across.connect(listening.getsockname())


@pytest.mark.net
def test_nothing_is_left_after_a_failure_nor_after_a_broken_start(monkeypatch: pytest.MonkeyPatch) -> None:
    before = namespaces()
    try:
        with pytest.raises(RuntimeError, match="of the block"), open_link():
            assert namespaces() > before
            raise RuntimeError("of the block")
    except Unavailable as e:
        pytest.skip(str(e))
    assert namespaces() == before
    monkeypatch.setattr(link_module, "Processes", Broken)
    with pytest.raises(Unavailable, match=r"no link with delay: .*--bogus"), open_link():
        pytest.fail("a link that never came up")
    assert namespaces() == before


@pytest.mark.net
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(number: int) -> None:
    try:
        check()
    except Unavailable as e:
        pytest.skip(str(e))
    script = """
        import time
        from benchmarks.link import open_link
        from benchmarks.processes import terminated_like_interrupted
        with terminated_like_interrupted(), open_link() as link:
            print(link.prefix("sender")[-1], flush=True)
            time.sleep(60)
    """
    run = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert run.stdout is not None
    name = run.stdout.readline().strip()
    if not name:
        run.wait(20)
        pytest.skip("no link can be made here")
    assert name in namespaces()
    run.send_signal(number)
    run.wait(20)
    run.stdout.close()
    if number == signal.SIGKILL:
        remove_stale()  # as the next link does
    assert name not in namespaces()
