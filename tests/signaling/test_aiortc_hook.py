"""Fails, and says where, when aiortc or aioice change under `signaling/aiortc_hook.py`."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable
from typing import Any

import aioice.ice
import aioice.turn
import aiortc
import aiortc.codecs
import aiortc.rtcrtpreceiver
import aiortc.rtcrtpsender
import aiortc.rtcsctptransport
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtcdtlstransport import RTCDtlsTransport, RtpRouter
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcsctptransport import RTCSctpTransport

from signaling import aiortc_hook
from signaling.aiortc_hook import QUEUED_PACKETS, TickEncoder, TickTrack, gathering
from signaling.wire import WireCounter

pytestmark = pytest.mark.unit


def test_version_is_the_one_that_was_read() -> None:
    assert aiortc.__version__.startswith("1.16."), "read the new source, then adapt aiortc_hook.py"


def test_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiortc, "__version__", "1.17.0")
    with pytest.raises(RuntimeError, match=r"1\.17\.0"):
        aiortc_hook.install()


@pytest.mark.parametrize(
    ("function", "line"),
    [
        (RTCRtpSender._run_rtcp, "asyncio.sleep(0.5 + random.random())"),
        (RTCRtpReceiver._run_rtcp, "asyncio.sleep(0.5 + random.random())"),
        (RTCRtpSender._next_encoded_frame, "self.__encoder = get_encoder(codec)"),
        (RTCRtpSender._next_encoded_frame, "payloads, timestamp = self.__encoder.pack(data)"),
        (RTCRtpSender._handle_rtcp_packet, "await self._retransmit(seq)"),
        (RTCRtpReceiver._handle_rtp_packet, "pli_flag, encoded_frame = self.__jitter_buffer.add(packet)"),
        (RTCRtpReceiver._handle_rtp_packet, "if encoded_frame is not None"),
        (RTCRtpReceiver._handle_disconnect, "self.__stop_decoder()"),
        (RTCDtlsTransport.start, "srtp_profiles=self._srtp_profiles"),
        (RTCDtlsTransport._handle_rtp_data, "self._rtp_router.route_rtp(packet)"),
        (RTCDtlsTransport._recv_next, "await self._data_receiver._handle_data(data)"),
        (RTCSctpTransport._receive_data_chunk, "inbound_stream.add_chunk(chunk)"),
        (RTCSctpTransport._transmit, "await self._send_chunk(chunk)"),
        (aioice.ice.Connection.get_component_candidates, "StunProtocol(self)"),
        (aioice.ice.Connection.gather_candidates, "get_host_addresses("),
        (aioice.ice.Connection.data_received, "self._queue.put_nowait"),
        (aioice.turn.create_turn_endpoint, "TurnClientUdpProtocol("),
        (aioice.turn.TurnTransport.__init__, "self.__inner_protocol = inner_protocol"),
    ],
    ids=lambda x: x if isinstance(x, str) else x.__qualname__,
)
def test_source_line_that_a_hook_relies_on(function: Callable[..., Any], line: str) -> None:
    assert line in inspect.getsource(function)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (aiortc.codecs.get_encoder, ["codec"]),
        (aiortc.codecs.base.Encoder.pack, ["self", "packet"]),
        (aiortc.jitterbuffer.JitterBuffer.add, ["self", "packet"]),
        (RTCRtpSender._retransmit, ["self", "sequence_number"]),
        (RtpRouter.route_rtp, ["self", "packet"]),
        (RTCSctpTransport._handle_data, ["self", "data"]),
        (RTCSctpTransport._send_chunk, ["self", "chunk"]),
        (aiortc_hook._host_addresses, ["use_ipv4", "use_ipv6"]),
        (aioice.ice.StunProtocol.send_data, ["self", "data", "addr"]),
        (aioice.ice.StunProtocol.send_stun, ["self", "message", "addr"]),
        (aioice.ice.StunProtocol.datagram_received, ["self", "data", "addr"]),
        (aioice.turn.TurnClientUdpProtocol._send, ["self", "data"]),
    ],
    ids=lambda x: getattr(x, "__qualname__", ""),
)
def test_signature_that_a_hook_relies_on(function: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == parameters


def test_attributes_that_a_hook_relies_on() -> None:
    async def run() -> None:
        pc = RTCPeerConnection(RTCConfiguration([]))
        transceiver = pc.addTransceiver("audio")
        pc.createDataChannel("x", negotiated=True, id=0)
        dtls, sctp = transceiver.receiver.transport, pc.sctp
        assert isinstance(
            vars(transceiver.receiver)["_RTCRtpReceiver__jitter_buffer"], aiortc.jitterbuffer.JitterBuffer
        )
        assert isinstance(dtls._srtp_profiles, list)
        assert dtls._rtp_router.ssrc_table == {} and dtls._rtp_router.payload_type_table == {}
        assert sctp._inbound_streams == {} and sctp._sack_misordered == set() and not sctp._outbound_queue
        assert aiortc.rtcsctptransport.InboundStream().reassembly == []
        assert dtls.transport._connection._queue.qsize() == 0
        await pc.close()

    asyncio.run(run())


def test_video_for_browsers_begins_with_300_kilobits() -> None:
    aiortc_hook.install()
    encoder = Vp8Encoder()
    assert encoder.target_bitrate == aiortc_hook.VIDEO_BITRATE
    encoder.target_bitrate = 1
    assert encoder.target_bitrate == aiortc_hook.MIN_VIDEO_BITRATE
    encoder.target_bitrate = 10**9
    assert encoder.target_bitrate == aiortc_hook.VIDEO_BITRATE


def test_install_twice_registers_once() -> None:
    aiortc_hook.install()
    aiortc_hook.install()
    ours = [c for c in aiortc.codecs.CODECS["audio"] if c.mimeType == "audio/pinhole"]
    assert [(c.clockRate, c.channels, c.payloadType) for c in ours] == [(48000, 1, 110)]
    assert 110 not in [c.payloadType for kind in aiortc.codecs.CODECS.values() for c in kind if c not in ours]
    assert isinstance(aiortc.rtcrtpsender.get_encoder(ours[0]), TickEncoder)
    opus = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48000, channels=2, payloadType=96)
    assert not isinstance(aiortc.rtcrtpsender.get_encoder(opus), TickEncoder)


def test_offer_has_our_codec_only_and_no_extensions_after_the_check() -> None:
    from signaling.peer import Peer, PeerEvents

    async def run() -> str:
        events = PeerEvents(lambda: None, lambda reason: None, lambda packet: None, lambda message: None)
        peer = Peer("sender", events, WireCounter(), (), loopback=True)
        assert peer._transceiver.receiver.transport._srtp_profiles[0].openssl_profile == b"SRTP_AES128_CM_SHA1_32"
        offer = await peer.offer()
        await peer.close()
        return offer

    offer = asyncio.run(run())
    assert [line for line in offer.splitlines() if line.startswith("a=rtpmap")] == ["a=rtpmap:110 pinhole/48000"]
    assert "extmap" not in offer and "srflx" not in offer and "a=sendonly" in offer


def test_rtcp_comes_every_five_seconds_on_average() -> None:
    aiortc_hook.install()
    for module in (aiortc.rtcrtpsender, aiortc.rtcrtpreceiver):
        pauses = [0.5 + module.random.random() for _ in range(2000)]  # as in _run_rtcp
        assert min(pauses) >= 2.5 and max(pauses) <= 7.5
        assert sum(pauses) / len(pauses) == pytest.approx(5.0, abs=0.2)


def test_track_drops_the_oldest() -> None:
    async def run() -> list[int]:
        track = TickTrack()
        for k in range(3 * QUEUED_PACKETS):
            track.push(b"x", k)
        return [(await track.recv()).timestamp for _ in range(QUEUED_PACKETS)]

    assert asyncio.run(run()) == list(range(2 * QUEUED_PACKETS, 3 * QUEUED_PACKETS))


def test_track_that_is_stopped_ends_its_reader() -> None:
    async def run() -> None:
        track = TickTrack()
        reader = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        track.stop()
        with pytest.raises(aiortc.mediastreams.MediaStreamError):
            await asyncio.wait_for(reader, 1)

    asyncio.run(run())


def test_timestamp_wraps_at_32_bits() -> None:
    tick = random.Random(4).randrange(1 << 40)
    assert TickEncoder().pack(aiortc_hook.Payload(b"x", tick)) == ([b"x"], tick % (1 << 32))


def test_loopback_is_offered_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(aiortc_hook, "_host_addresses", lambda use_ipv4, use_ipv6: list(addresses))
    assert aiortc_hook._usable_addresses(True, True) == ["127.0.0.1"]
    addresses[:] = ["10.0.0.1", "fd00::1", "169.254.3.4"]
    assert aiortc_hook._usable_addresses(True, True) == ["10.0.0.1", "fd00::1"]
    with gathering(WireCounter(), loopback=True):
        assert aiortc_hook._usable_addresses(True, True) == ["127.0.0.1", "10.0.0.1", "fd00::1"]
    assert aioice.ice.get_host_addresses is aiortc_hook._usable_addresses


def test_relay_over_udp_is_counted_with_its_framing() -> None:
    class Transport(asyncio.DatagramTransport):
        def sendto(self, data: Any, addr: Any = None) -> None:
            self.data = data

    async def run() -> None:
        wire = WireCounter()
        with gathering(wire, loopback=False):
            relay = aioice.turn.TurnClientUdpProtocol(("192.0.2.1", 3478), "user", "password", 600, 500)
            stun = aioice.ice.StunProtocol(aioice.ice.Connection(ice_controlling=True))
        relay.transport = Transport()
        relay._send(bytes(72))
        relay.datagram_received(bytes(100), ("192.0.2.1", 3478))
        assert (wire.sent_bytes, wire.sent_packets, wire.received_bytes, wire.received_packets) == (100, 1, 128, 1)
        stun.connection_made(aioice.turn.TurnTransport(relay))
        stun.datagram_received(bytes(100), ("192.0.2.9", 1))
        assert wire.received_packets == 1

    asyncio.run(run())


def test_datagrams_from_anybody_do_no_harm() -> None:
    rng = random.Random(6)

    async def run() -> None:
        wire = WireCounter()
        connection = aioice.ice.Connection(ice_controlling=True)
        with gathering(wire, loopback=True):
            await connection.gather_candidates()
        request = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{connection.local_username}:abcd"
        request.attributes["PRIORITY"] = 1
        request.add_message_integrity(connection.local_password.encode())
        good = bytes(request)
        for _ in range(2000):
            data = bytearray(good if rng.random() < 0.7 else rng.randbytes(rng.randrange(60)))
            for _ in range(rng.randrange(4) if data else 0):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            connection._protocols[0].datagram_received(bytes(data[: rng.randrange(len(data) + 1)]), ("127.0.0.1", 9))
        assert wire.received_packets == 2000
        assert connection._queue.qsize() <= aiortc_hook.QUEUED_DATAGRAMS
        await connection.close()

    asyncio.run(run())


def test_errors_of_background_tasks_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    ours: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: ours.append(context["message"]))
        aiortc_hook.quiet_background_errors(loop)
        aiortc_hook.quiet_background_errors(loop)
        pc = RTCPeerConnection(RTCConfiguration([]))
        transport = pc.addTransceiver("audio").receiver.transport
        task = asyncio.ensure_future(transport.start(aiortc.RTCDtlsParameters()))  # no fingerprint: AssertionError
        await asyncio.wait({task})
        del task
        await pc.close()
        loop.call_exception_handler({"message": "not aiortc's"})

    asyncio.run(run())
    assert ours == ["not aiortc's"]
    assert "Traceback" not in capfd.readouterr().err
