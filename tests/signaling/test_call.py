from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from codec_models.bitstream.packet import TickPacket, pack, unpack
from signaling.call import Place, ReceivedPacket, ReceivingCall, SendingCall
from signaling.control import Bye, ControlMessage, Hello, Statistics, Still
from signaling.peer import Peer, PeerEvents
from signaling.rooms import RoomLimits
from signaling.server import ServerConfig
from signaling.wire import WireCounter

pytestmark = pytest.mark.net


class Record:
    """CallEvents that keeps all it is told."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.packets: list[ReceivedPacket] = []
        self.messages: list[ControlMessage] = []

    def connected(self) -> None:
        self.log.append("connected")

    def disconnected(self, reason: str) -> None:
        self.log.append(f"disconnected: {reason}")

    def packet(self, packet: ReceivedPacket) -> None:
        self.packets.append(packet)

    def control(self, message: ControlMessage) -> None:
        self.messages.append(message)

    @property
    def ups(self) -> int:
        return self.log.count("connected")


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def send_ticks(call: SendingCall, ticks: list[TickPacket], first: int = 0) -> None:
    for k, tick in enumerate(ticks, first):
        call.send(tick, k)
        await asyncio.sleep(0.002)


def make_ticks(n: int) -> list[TickPacket]:
    return [TickPacket((os.urandom(15),), (os.urandom(40),), (os.urandom(4),), k) for k in range(n)]


async def crash(call: SendingCall | ReceivingCall) -> None:
    """The process is killed: its sockets close and nobody is told anything."""
    assert call._task is not None and call._peer is not None
    for protocol in call._peer._transceiver.receiver.transport.transport._connection._protocols:
        protocol.transport.abort()
    await call._client.close()
    call._leaving = True
    call._task.cancel()


def test_call_from_join_to_leave(run_server: Callable[..., Any]) -> None:
    async def run() -> None:
        url = run_server().url
        sent, received = Record(), Record()
        sender, receiver = SendingCall(Place(url, "x"), sent), ReceivingCall(Place(url, "x"), received)
        sender.send(TickPacket((b"",), (b"early",)), 0)
        assert not sender.connected and not sender.send_control(Bye("early"))
        await sender.join()
        assert sender.room_tokens is not None and set(sender.room_tokens) >= {"a/sender", "a/receiver"}
        assert sender.status == "waiting for a receiver"
        await receiver.join()
        assert receiver.room_tokens is None
        await until(lambda: sender.connected and receiver.connected)

        ticks = make_ticks(50)
        await send_ticks(sender, ticks)
        await until(lambda: len(received.packets) == 50)
        assert [unpack(p.payload) for p in received.packets] == ticks
        first = received.packets[0]
        assert [p.timestamp - first.timestamp for p in received.packets] == [1920 * k for k in range(50)]
        assert [p.sequence - first.sequence for p in received.packets] == list(range(50))
        assert all(abs(p.arrival - time.monotonic()) < 10 for p in received.packets)
        wire_bytes = sum(len(pack(t)) + 12 + 4 + 28 for t in ticks)
        assert wire_bytes < receiver.wire.received_bytes < wire_bytes + 5000
        assert sender.wire.sent_packets >= 50 and sender.wire.received_packets > 0
        assert receiver.wire.received_packets == sender.wire.sent_packets

        still, hello = Still(1, os.urandom(10_000)), Hello(25, "full", True, 40, "Ada")
        assert sender.send_control(hello) and sender.send_control(still)
        assert receiver.send_control(Still(2, still.data)) and receiver.send_control(Statistics({"ticks_lost": 1}))
        await until(lambda: len(sent.messages) == len(received.messages) == 2)
        assert received.messages == [hello, still]
        assert sent.messages == [Still(2, still.data), Statistics({"ticks_lost": 1})]

        start = time.monotonic()
        await sender.leave("the film\nis over")
        assert time.monotonic() - start < 1.5
        await until(lambda: len(received.log) == 2)
        assert received.messages[-1] == Bye("the film is over")
        assert received.log == ["connected", "disconnected: the other side left: the film is over"]
        assert sent.log == ["connected"] and not sender.connected
        await sender.leave()
        await receiver.leave()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_receiver_first_and_both_directions(run_server: Callable[..., Any]) -> None:
    async def run() -> None:
        url = run_server(ServerConfig(wait_s=0.3)).url  # each waits through several answers of "nobody yet"
        tokens: dict[str, str] | None = None
        calls: list[SendingCall | ReceivingCall] = []
        for direction in "ab":
            receiver = ReceivingCall(Place(url, "x", tokens and tokens[f"{direction}/receiver"], direction), Record())
            await receiver.join()
            tokens = tokens or receiver.room_tokens
            calls.append(receiver)
        await asyncio.sleep(0.5)
        assert tokens is not None
        for direction in "ab":
            sender = SendingCall(Place(url, "x", tokens[f"{direction}/sender"], direction), Record())
            await sender.join()
            calls.append(sender)
        await until(lambda: all(call.connected for call in calls))
        await asyncio.gather(*(call.leave() for call in calls))

    asyncio.run(run())


def test_sender_that_trickles(run_server: Callable[..., Any]) -> None:
    """A plain WHIP client whose offer has no candidates yet."""

    async def run() -> None:
        url = run_server().url
        receiver, opened = ReceivingCall(Place(url, "x"), Record()), asyncio.Event()
        await receiver.join()
        assert receiver.room_tokens is not None
        events = PeerEvents(opened.set, lambda reason: None, lambda packet: None, lambda message: None)
        peer = Peer("sender", events, WireCounter(), (), loopback=True)
        lines = (await peer.offer()).split("\r\n")
        late = [line for line in lines if line.startswith(("a=candidate:", "a=end-of-candidates"))]
        offer = "\r\n".join(line for line in lines if line not in late)
        headers = {"Authorization": f"Bearer {receiver.room_tokens['a/sender']}", "Content-Type": "application/sdp"}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            answer = await http.post("/rooms/x/a/sender", headers=headers, content=offer)
            assert answer.status_code == 201
            await peer.accept(answer.text)
            headers["Content-Type"] = "application/trickle-ice-sdpfrag"
            for line in late:
                response = await http.patch(answer.headers["location"], headers=headers, content=line + "\r\n")
                assert response.status_code == 204
            await until(lambda: receiver.connected and opened.is_set())
        await peer.close()
        await receiver.leave()

    asyncio.run(run())


def test_receiver_that_is_killed_is_replaced(run_server: Callable[..., Any]) -> None:
    async def run() -> None:
        url = run_server(ServerConfig(wait_s=5, limits=RoomLimits(silent_s=0.3))).url
        sent, received = Record(), Record()
        sender, receiver = SendingCall(Place(url, "x"), sent), ReceivingCall(Place(url, "x"), Record())
        await sender.join()
        await receiver.join()
        await until(lambda: sender.connected and receiver.connected)
        await crash(receiver)
        again = ReceivingCall(Place(url, "x"), received)
        await again.join()
        await until(lambda: again.connected and sent.ups == 2)
        assert sent.log == ["connected", "disconnected: the other side starts anew", "connected"]
        await send_ticks(sender, make_ticks(5), 100)
        await until(lambda: len(received.packets) == 5)
        assert received.packets[4].timestamp - received.packets[0].timestamp == 4 * 1920
        await sender.leave()
        await again.leave()

    asyncio.run(run())


def test_sender_that_is_killed_is_replaced(run_server: Callable[..., Any]) -> None:
    async def run() -> None:
        url = run_server(ServerConfig(wait_s=5, limits=RoomLimits(silent_s=0.3))).url
        received = Record()
        sender, receiver = SendingCall(Place(url, "x"), Record()), ReceivingCall(Place(url, "x"), received)
        await sender.join()
        await receiver.join()
        await until(lambda: sender.connected and receiver.connected)
        await send_ticks(sender, make_ticks(3), 1 << 33)
        await until(lambda: len(received.packets) == 3)
        await crash(sender)
        again = SendingCall(Place(url, "x"), Record())
        await again.join()
        await until(lambda: again.connected and received.ups == 2)
        assert received.log == ["connected", "disconnected: the other side starts anew", "connected"]
        await send_ticks(again, make_ticks(3))
        await until(lambda: len(received.packets) == 6)
        # The unwrapping starts anew with the stream.
        assert all(0 <= p.timestamp < 1 << 33 and 0 <= p.sequence < 1 << 17 for p in received.packets[3:])
        assert received.packets[5].timestamp - received.packets[3].timestamp == 2 * 1920
        await again.leave()
        await receiver.leave()

    asyncio.run(run())


def test_silent_peer_is_given_up(run_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's datagrams stop while its signaling connection stays: as when a network path dies."""
    monkeypatch.setattr("signaling.call.SILENCE_SECONDS", 1.0)

    async def run() -> None:
        url = run_server().url
        received = Record()
        sender, receiver = SendingCall(Place(url, "x"), Record()), ReceivingCall(Place(url, "x"), received)
        await sender.join()
        await receiver.join()
        await until(lambda: sender.connected and receiver.connected)
        await until(lambda: received.ups == 2)
        assert received.log[1] == "disconnected: nothing has come from the other side for 1 s"
        await sender.leave()
        await receiver.leave()

    asyncio.run(run())


def test_server_that_goes_away_and_comes_back(run_server: Callable[..., Any]) -> None:
    async def run() -> None:
        running = run_server(ServerConfig(wait_s=5))
        sent, received = Record(), Record()
        sender, receiver = SendingCall(Place(running.url, "x"), sent), ReceivingCall(Place(running.url, "x"), received)
        await sender.join()
        await receiver.join()
        await until(lambda: sender.connected and receiver.connected)
        await asyncio.to_thread(running.stop)
        await asyncio.sleep(0.3)
        await send_ticks(sender, make_ticks(5))
        await until(lambda: len(received.packets) == 5)
        assert sent.log == received.log == ["connected"]
        # A server that knows nothing of the room: the two open it again once they lose each other.
        run_server(ServerConfig(wait_s=5), port=running.port)
        assert sender._peer is not None
        await sender._peer._pc.close()
        await until(lambda: sent.ups == received.ups == 2, 15)
        await sender.leave()
        await receiver.leave()

    asyncio.run(run())
