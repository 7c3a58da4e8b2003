"""A link with delay between two network namespaces of this machine (Linux, root).

    with open_link(LinkConfig()) as link:
        processes.start("receiver", [...], prefix=link.prefix("receiver"))

Each namespace has one TUN device; a small process of ours (`python -m benchmarks.link`, internal) carries the packets
between the two. What a packet waits is drawn uniformly from delay +- jitter, each direction for itself, with a new draw
in every `slot_ms`: packets that are sent together, as those of one picture are, wait alike, as they do in a queue. No
packet overtakes another one, none is lost, and the rate has no bound. (netem's default draws for each packet and lets
them overtake each other; that would be unkind to codecs with several packets a picture.)

Names carry the id of the process that made them. They are removed at the end, also after Ctrl-C; what a killed process
left is removed by the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from codec_models.errors import CommandParser, UserError, run_command

from .processes import Processes

SIDES = ("sender", "receiver")
ADDRESSES = {"sender": "198.18.0.1", "receiver": "198.18.0.2"}
"""Of the range that is set aside for measurements (RFC 2544, section C.2.2)."""
_BITS = 30
MTU = 1500
QUEUED = 2000
"""Packets of one direction that are on their way at most; more are dropped."""
START_S = 10.0
_PREFIX = "pinhole"
_TUN = Path("/dev/net/tun")
_NAMESPACES = Path("/var/run/netns")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_numbers = itertools.count(1)


class Unavailable(UserError):
    """This machine cannot make the link; the text says why."""


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One way: delay_ms +- jitter_ms (half the width of a uniform distribution), drawn anew every slot_ms."""

    delay_ms: float = 50.0
    jitter_ms: float = 20.0
    slot_ms: float = 20.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ms <= self.delay_ms <= 10_000 or not self.slot_ms > 0:
            raise ValueError(f"no link has {self}")

    def text(self) -> str:
        """For people."""
        return f"{self.delay_ms:g} ms +- {self.jitter_ms:g} ms one way (uniform, in order, no loss)"


class Delay:
    """When the packets of one direction leave the link. Pure; times in seconds, which must not go back."""

    def __init__(self, config: LinkConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._last = float("-inf")

    def leaves(self, entered: float) -> float:
        """entered -> the time at which the packet leaves, no earlier than any before it."""
        config = self._config
        slot = int(entered * 1000 / config.slot_ms)
        drawn = random.Random(self._seed << 48 ^ slot).uniform(-1, 1) * config.jitter_ms
        self._last = max(self._last, entered + (config.delay_ms + drawn) / 1000)
        return self._last


class Link:
    """Two connected namespaces. `open_link` makes one."""

    def __init__(self, config: LinkConfig, names: dict[str, str]) -> None:
        self.config = config
        self._names = names

    @property
    def settings(self) -> dict[str, object]:
        """For the JSON of a benchmark."""
        return {**asdict(self.config), "distribution": "uniform, one draw a slot", "reordering": False, "loss": 0.0}

    def address(self, side: str) -> str:
        """IPv4 address of a side."""
        return ADDRESSES[side]

    def prefix(self, side: str) -> list[str]:
        """What runs a command in the namespace of a side, put before it."""
        return ["ip", "netns", "exec", self._names[side]]

    def make_socket(self, side: str, kind: socket.SocketKind) -> socket.socket:
        """An IPv4 socket that lives in the namespace of a side; the caller closes it."""
        made: list[socket.socket] = []

        def make() -> None:  # a namespace belongs to a thread: this one is thrown away
            enter(self._names[side])
            made.append(socket.socket(socket.AF_INET, kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made:
            raise UserError("the link's namespace is gone")
        return made[0]

    def probe(self, side: str) -> Callable[[int], socket.socket]:
        """For `Processes.wait_for_port`: connects to a port of a side from inside its own namespace."""

        def connect(port: int) -> socket.socket:
            probe = self.make_socket(side, socket.SOCK_STREAM)
            probe.settimeout(0.5)
            try:
                probe.connect((self.address(side), port))
            except OSError:
                probe.close()
                raise
            return probe

        return connect


@contextlib.contextmanager
def open_link(config: LinkConfig = LinkConfig()) -> Iterator[Link]:
    """A link for as long as the block lasts. Raises Unavailable where it cannot be made."""
    check()
    remove_stale()
    number = next(_numbers)
    names = {side: f"{_PREFIX}-{os.getpid()}-{number}-{side}" for side in SIDES}
    try:
        for name in names.values():
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        with Processes() as processes:
            arguments = ["--delay", config.delay_ms, "--jitter", config.jitter_ms, "--slot", config.slot_ms]
            command = ["-m", "benchmarks.link", *names.values(), *arguments, "--seed", config.seed]
            carrier = processes.start("link", [str(a) for a in command])
            end = time.monotonic() + START_S
            while "ready" not in carrier.lines:
                if carrier.status is not None or time.monotonic() > end:
                    raise Unavailable(f"no link with delay: {carrier.failure() if carrier.status else 'it hangs'}")
                time.sleep(0.01)
            yield Link(config, names)
            if carrier.status is not None:
                raise UserError(f"the link has ended before the calls: {carrier.failure()}")
    finally:
        for name in names.values():
            _remove(name)


def check() -> None:
    """Raises Unavailable, with the reason, where this machine cannot make a link."""
    if sys.platform != "linux":
        raise Unavailable(f"network namespaces are Linux's, this is {sys.platform}")
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    if shutil.which("ip") is None:
        raise Unavailable("network namespaces need the `ip` command (Debian: apt install iproute2)")
    if not _TUN.exists():
        raise Unavailable(f"this kernel has no {_TUN}")


def remove_stale() -> None:
    """Remove the namespaces of runs that were killed before they could."""
    if not _NAMESPACES.is_dir():
        return
    for path in _NAMESPACES.iterdir():
        parts = path.name.split("-")
        if len(parts) == 4 and parts[0] == _PREFIX and parts[1].isdigit() and not Path("/proc", parts[1]).exists():
            _remove(path.name)


def enter(name: str) -> None:
    """Move this thread to a named namespace. Raises UserError."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(_NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise UserError(f"no network namespace {name} ({e.strerror})") from e
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise UserError(f"network namespace {name} cannot be entered ({os.strerror(ctypes.get_errno())})")
    finally:
        os.close(descriptor)


def open_tun(namespace: str, device: str, address: str) -> int:
    """Move to the namespace and make a TUN device there -> its descriptor. Raises UserError."""
    enter(namespace)
    try:
        descriptor = os.open(_TUN, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as e:
        raise UserError(f"no TUN device can be made ({e.strerror})") from e
    with contextlib.suppress(UserError):  # without IPv6 there is nothing to switch off
        _ip("link", "set", device, "addrgenmode", "none")
    _ip("address", "add", f"{address}/{_BITS}", "dev", device)
    _ip("link", "set", device, "mtu", str(MTU), "up")
    return descriptor


def carry(config: LinkConfig, left: int, right: int) -> None:
    """Carry packets both ways between two TUN devices, until interrupted."""
    to = {left: right, right: left}
    delays = {d: Delay(config, 2 * config.seed + k) for k, d in enumerate((left, right))}
    waiting: dict[int, deque[tuple[float, bytes]]] = {left: deque(), right: deque()}
    while True:
        due = [queue[0][0] for queue in waiting.values() if queue]
        timeout = max(0.0, min(due) - time.monotonic()) if due else None
        ready, _, _ = select.select([left, right], [], [], timeout)
        for source in ready:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(source, 65536)
                    if len(waiting[source]) < QUEUED:
                        waiting[source].append((delays[source].leaves(time.monotonic()), packet))
        now = time.monotonic()
        for source, queue in waiting.items():
            while queue and queue[0][0] <= now:
                packet = queue.popleft()[1]
                with contextlib.suppress(OSError):  # what the other side does not take is dropped
                    os.write(to[source], packet)


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=START_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`ip {' '.join(arguments[:3])}` hangs") from None
    if done.returncode:
        raise Unavailable(f"`ip {' '.join(arguments[:3])}` failed: {done.stderr.strip() or done.returncode}")


def _remove(name: str) -> None:
    if (_NAMESPACES / name).exists():
        with contextlib.suppress(UserError):
            _ip("netns", "delete", name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The process that carries the packets."""
    parser = CommandParser(description="Carry packets between two network namespaces (started by the benchmarks).")
    parser.add_argument("namespaces", nargs=2, metavar="NAMESPACE")
    for name in ("delay", "jitter", "slot"):
        parser.add_argument(f"--{name}", type=float, required=True, metavar="MS")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    config = LinkConfig(options.delay, options.jitter, options.slot, options.seed)
    left, right = (
        open_tun(namespace, f"ph{os.getpid()}{side[0]}"[-15:], ADDRESSES[side])
        for namespace, side in zip(options.namespaces, SIDES, strict=True)
    )
    with contextlib.suppress(OSError):  # a link does not wait for busy processors
        os.nice(-10)
    print("ready", flush=True)
    carry(config, left, right)
    return 0


if __name__ == "__main__":
    run_command(main)
