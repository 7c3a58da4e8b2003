from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator

import pytest
from aiortc.rtcsctptransport import SCTP_DATA_FIRST_FRAG, DataChunk
from aiortc.rtp import RtpPacket

from signaling.control import Bye, ControlMessage, NeedStill, Still
from signaling.description import MAX_CANDIDATES, MAX_SDP_BYTES, DescriptionError, check_description
from signaling.peer import MAX_BUFFERED_BYTES, MAX_MESSAGE_BURST, MAX_PAYLOAD_BYTES, Peer, PeerEvents, ReceivedPacket
from signaling.wire import DATAGRAM_OVERHEAD, WireCounter

pytestmark = pytest.mark.net


class End:
    """One peer and what it reported."""

    def __init__(self, role: str) -> None:
        self.opened = asyncio.Event()
        self.closed: list[str] = []
        self.packets: list[ReceivedPacket] = []
        self.messages: list[ControlMessage] = []
        self.wire = WireCounter()
        events = PeerEvents(self.opened.set, self.closed.append, self.packets.append, self.messages.append)
        self.peer = Peer(role, events, self.wire, (), loopback=True)


async def until(condition, seconds: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[tuple[End, End]]:
    sender, receiver = End("sender"), End("receiver")
    try:
        await sender.peer.accept(await receiver.peer.answer(await sender.peer.offer()))
        async with asyncio.timeout(10):
            await sender.opened.wait()
            await receiver.opened.wait()
        yield sender, receiver
    finally:
        await sender.peer.close()
        await receiver.peer.close()


def test_packets_arrive_as_they_were_and_cost_50_bytes_more() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            payloads = [os.urandom(60) for _ in range(50)]
            bytes_before, packets_before = sender.wire.sent_bytes, sender.wire.sent_packets
            for k, payload in enumerate(payloads):
                sender.peer.send(payload, k * 1920)
                await asyncio.sleep(0.005)
            await until(lambda: len(receiver.packets) == 50)
            assert [p.payload for p in receiver.packets] == payloads
            first = receiver.packets[0]
            assert [p.timestamp - first.timestamp for p in receiver.packets] == [k * 1920 for k in range(50)]
            assert [p.sequence - first.sequence for p in receiver.packets] == list(range(50))
            arrivals = [p.arrival for p in receiver.packets]
            assert arrivals == sorted(arrivals)
            # RTP header, SRTP tag, IPv4 and UDP; a consent check of ICE may come between.
            mean = (sender.wire.sent_bytes - bytes_before) / (sender.wire.sent_packets - packets_before)
            assert mean == pytest.approx(60 + 12 + 4 + DATAGRAM_OVERHEAD, abs=4)
            assert receiver.wire.received_bytes >= 50 * 110
            parts = receiver.wire.received_parts
            assert sum(parts.values()) == receiver.wire.received_bytes and parts["other"] == parts["turn"] == 0
            assert parts["rtp"] == 50 * (60 + 12 + 4 + DATAGRAM_OVERHEAD) and parts["stun"] > 0 < parts["dtls"]

    asyncio.run(run())


def test_messages_of_32_kilobytes_both_ways() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            still, back = Still(1, os.urandom(32_768)), Still(2, os.urandom(10_000))
            assert sender.peer.send_control(still)
            assert receiver.peer.send_control(back)
            await until(lambda: receiver.messages and sender.messages)
            assert receiver.messages == [still] and sender.messages == [back]
            await until(lambda: sender.peer.buffered == 0)

    asyncio.run(run())


def test_nothing_is_sent_before_or_after() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            await sender.peer.close()
            assert not sender.peer.connected
            sender.peer.send(b"x", 0)
            assert not sender.peer.send_control(NeedStill())
            await until(lambda: receiver.closed)
            assert sender.closed == [] and len(receiver.closed) == 1
        early = End("sender")
        early.peer.send(b"x", 0)
        assert not early.peer.send_control(NeedStill())
        await early.peer.close()

    asyncio.run(run())


def test_full_buffer_refuses() -> None:
    async def run() -> None:
        async with connection() as (sender, _):
            accepted = 0
            while sender.peer.send_control(Still(accepted, bytes(32_768))):
                accepted += 1
                assert accepted < 10, "the buffer has no end"
            assert sender.peer.buffered <= MAX_BUFFERED_BYTES + 2 * 32_800

    asyncio.run(run())


def test_error_in_a_callback_does_not_end_the_connection() -> None:
    async def run() -> None:
        errors: list[object] = []
        async with connection() as (sender, receiver):
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))

            def broken(message: ControlMessage) -> None:
                receiver.messages.append(message)
                raise ZeroDivisionError

            object.__setattr__(receiver.peer._events, "control", broken)
            for _ in range(2):
                assert sender.peer.send_control(NeedStill())
            await until(lambda: len(receiver.messages) == 2)
            assert [type(e) for e in errors] == [ZeroDivisionError, ZeroDivisionError]
            assert receiver.peer.connected

    asyncio.run(run())


def test_hostile_packets_are_dropped() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            transport = sender.peer._transceiver.sender.transport
            for i in range(50):  # sources that nobody announced, and an unknown payload type
                packet = RtpPacket(payload_type=110, sequence_number=i, timestamp=i, payload=b"x")
                packet.ssrc = 1000 + i
                await transport._send_rtp(packet.serialize())
                packet.payload_type, packet.ssrc = 96, sender.peer._transceiver.sender._ssrc
                await transport._send_rtp(packet.serialize())
            sender.peer.send(bytes(MAX_PAYLOAD_BYTES + 1), 0)
            sender.peer.send(b"good", 0)
            await until(lambda: receiver.packets)
            assert [p.payload for p in receiver.packets] == [b"good"]
            assert len(receiver.peer._transceiver.receiver.transport._rtp_router.ssrc_table) == 1

    asyncio.run(run())


def test_flood_of_packets_and_messages_is_cut() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            for k in range(600):
                sender.peer.send(b"x", k)
                if k % 5 == 0:
                    sender.peer.send_control(NeedStill())
                    await asyncio.sleep(0)
            sender.peer._channel.send(b"garbage")
            sender.peer._channel.send("text")
            await asyncio.sleep(0.3)
            assert 0 < len(receiver.packets) < 400
            assert 0 < len(receiver.messages) <= MAX_MESSAGE_BURST + 20
            assert receiver.peer.connected

    asyncio.run(run())


def test_message_without_an_end_closes_the_connection() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            sctp = sender.peer._channel.transport
            for i in range(400):
                chunk = DataChunk(flags=SCTP_DATA_FIRST_FRAG if i == 0 else 0)
                chunk.tsn = (sctp._local_tsn + i) % (1 << 32)
                chunk.stream_id, chunk.stream_seq, chunk.protocol, chunk.user_data = 0, 0, 53, bytes(1000)
                await sctp._send_chunk(chunk)
                if i % 20 == 0:
                    await asyncio.sleep(0.005)
            await until(lambda: receiver.closed)
            assert not receiver.peer.connected

    asyncio.run(run())


def test_malformed_sctp_closes_without_a_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            sctp = sender.peer._channel.transport
            await sctp._send(0, 51, b"\xff\xfe\xfd")  # a string that is not UTF-8
            await until(lambda: receiver.closed)

    asyncio.run(run())
    assert "Traceback" not in capfd.readouterr().err


def test_bye_arrives_before_the_end() -> None:
    async def run() -> None:
        async with connection() as (sender, receiver):
            assert sender.peer.send_control(Bye("done"))
            await until(lambda: sender.peer.buffered == 0)
            await sender.peer.close()
            await until(lambda: receiver.closed)
            assert receiver.messages == [Bye("done")]

    asyncio.run(run())


def without_candidates(sdp: str) -> tuple[str, str]:
    """A description -> the same without its candidates, and a fragment that trickles them."""
    lines = sdp.split("\r\n")
    found = [line for line in lines if line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join(line for line in lines if line not in found), "a=mid:0\r\n" + "\r\n".join(found)


def test_trickled_candidates() -> None:
    async def run() -> None:
        sender, receiver = End("sender"), End("receiver")
        offer, sender_fragment = without_candidates(await sender.peer.offer())
        answer, receiver_fragment = without_candidates(await receiver.peer.answer(offer))
        await sender.peer.accept(answer)
        assert not await receiver.peer.add_candidates("a=mid:0\r\na=candidate:1 1 udp 1 some.local 5000 typ host\r\n")
        for bad in ("a=candidate:1", "a=candidate:x x x x x x x x", "a=candidate:1 1 udp 1 10.0.0.1 port typ host"):
            with pytest.raises(DescriptionError):
                await receiver.peer.add_candidates(bad)
        assert await receiver.peer.add_candidates(sender_fragment)
        assert await sender.peer.add_candidates(receiver_fragment)
        await until(lambda: sender.peer.connected and receiver.peer.connected)
        await sender.peer.close()
        await receiver.peer.close()

    asyncio.run(run())


def test_trickled_candidates_are_bounded() -> None:
    async def run() -> None:
        sender, receiver = End("sender"), End("receiver")
        await receiver.peer.answer(without_candidates(await sender.peer.offer())[0])
        fragments = [f"a=candidate:{i} 1 udp 1 10.0.0.1 {5000 + i} typ host" for i in range(2 * MAX_CANDIDATES)]
        taken = [await receiver.peer.add_candidates(f) for f in fragments[:MAX_CANDIDATES]]
        assert taken == [False] * (MAX_CANDIDATES - 1) + [True]
        ice = receiver.peer._transceiver.receiver.transport.transport
        assert len(ice.getRemoteCandidates()) == MAX_CANDIDATES
        await sender.peer.close()
        await receiver.peer.close()

    asyncio.run(run())


async def make_offer() -> str:
    end = End("sender")
    try:
        return await end.peer.offer()
    finally:
        await end.peer.close()


def test_check_description() -> None:
    offer = asyncio.run(make_offer())
    assert check_description(offer) == offer
    assert check_description(offer.replace("\r\n", "\n")) == offer
    with_extension = offer.replace("a=rtcp-mux", "a=rtcp-mux\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid")
    assert check_description(with_extension) == offer
    hidden = "a=candidate:1 1 udp 1 0b7d2f2c-7d3a.local 5000 typ host"
    assert check_description(offer.replace("a=rtcp-mux", f"a=rtcp-mux\r\n{hidden}")) == offer
    many = "\r\n".join(f"a=candidate:{i} 1 udp 1 10.0.0.1 {5000 + i} typ host" for i in range(500))
    assert check_description(offer + many).count("a=candidate") <= 2 * MAX_CANDIDATES
    video = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=extmap:1 http://example/abs-send-time\r\n"
    assert check_description(offer + video) == offer + video
    for bad in ("", "hello", "v=0\r\n", offer + "x" * MAX_SDP_BYTES, offer + 2 * video):
        with pytest.raises(DescriptionError):
            check_description(bad)
    for line in ("m=audio", "m=application", "a=fingerprint", "a=ice-ufrag", "a=ice-pwd"):
        with pytest.raises(DescriptionError):
            check_description(offer.replace(line, "x=" + line[2:]))


def test_garbled_descriptions_raise_one_error(capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)

    async def run() -> None:
        offer = await make_offer()
        for _ in range(60):
            lines = offer.split("\r\n")
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(lines))
                change = rng.randrange(4)
                if change == 0:
                    del lines[at]
                elif change == 1:
                    lines[at] = lines[at][: rng.randrange(len(lines[at]) + 1)]
                elif change == 2:
                    lines.insert(at, lines[rng.randrange(len(lines))])
                elif lines[at]:
                    where = rng.randrange(len(lines[at]))
                    lines[at] = lines[at][:where] + rng.choice("0 9:xÿ/") + lines[at][where + 1 :]
            end = End("receiver")
            with contextlib.suppress(DescriptionError):
                await end.peer.answer("\r\n".join(lines))
            await end.peer.close()

    asyncio.run(run())
    assert "Traceback" not in capfd.readouterr().err
