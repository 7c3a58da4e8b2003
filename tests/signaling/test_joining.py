from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from codec_models.errors import UserError
from signaling.call import Place, ReceivedPacket, ReceivingCall, SendingCall
from signaling.client import SignalingClient
from signaling.control import ControlMessage
from signaling.tokens import load_tokens, save_tokens, state_file

pytestmark = pytest.mark.net


class Record:
    """CallEvents that nobody looks at."""

    def connected(self) -> None: ...
    def disconnected(self, reason: str) -> None: ...
    def packet(self, packet: ReceivedPacket) -> None: ...
    def control(self, message: ControlMessage) -> None: ...


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def refusal(place: Place, role: type[SendingCall] | type[ReceivingCall] = SendingCall) -> str:
    """The one line that a join fails with."""

    async def run() -> str:
        call = role(place, Record())
        with pytest.raises(UserError) as info:
            await call.join()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return str(info.value)

    line = asyncio.run(run())
    assert line.isprintable() and 20 < len(line) < 250
    return line


def test_no_server() -> None:
    line = refusal(Place("http://127.0.0.1:9", "x"))
    assert line.startswith("cannot reach the signaling server at http://127.0.0.1:9: start it with")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "ftp://x", "http://", "http://user:secret@x", "", "http://[::1", "http://x:99999"]
)
def test_bad_url(url: str) -> None:
    assert "write it like" in refusal(Place(url, "x"))


@pytest.mark.parametrize("place", [("a b", None, "a"), ("", None, "a"), ("x", "\n", "a"), ("x", None, "c")])
def test_bad_place(place: tuple[str, str | None, str]) -> None:
    room, token, direction = place
    refusal(Place("http://127.0.0.1:9", room, token, direction))


def test_wrong_token_and_no_such_room(run_server: Callable[..., Any]) -> None:
    url = run_server().url

    async def open_room() -> dict[str, str]:
        async with SignalingClient(Place(url, "x"), "sender") as client:
            return await client.create_room()

    tokens = asyncio.run(open_room())
    assert "--token" in refusal(Place(url, "x", "wrong"))
    assert "a/receiver" in refusal(Place(url, "x", tokens["a/receiver"]))
    assert "room y" in refusal(Place(url, "y", "wrong"))


def test_room_of_somebody_else(run_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.joining.STATE_SECONDS", 0.3)
    url = run_server().url

    async def open_room() -> None:
        async with SignalingClient(Place(url, "x"), "sender") as client:
            await client.create_room()

    asyncio.run(open_room())
    assert "exists already" in refusal(Place(url, "x"))
    save_tokens(url, "x", {"a/sender": "stale"})
    assert "--token" in refusal(Place(url, "x"))


def test_occupied_place(run_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.joining.TAKEN_SECONDS", 0.5)

    async def run() -> None:
        url = run_server().url
        first, second = SendingCall(Place(url, "x"), Record()), SendingCall(Place(url, "x"), Record())
        await first.join()
        with pytest.raises(UserError, match="taken"):
            await second.join()
        await first.leave()
        third = SendingCall(Place(url, "x"), Record())
        await third.join()
        await third.leave()

    asyncio.run(run())


def test_kept_tokens_of_a_server_that_was_restarted(run_server: Callable[..., Any]) -> None:
    """Both programs find a stale token; one opens the room again and the other finds its new token."""

    async def run() -> None:
        url = run_server().url
        save_tokens(url, "x", {"a/sender": "stale", "a/receiver": "stale"})
        sender, receiver = SendingCall(Place(url, "x"), Record()), ReceivingCall(Place(url, "x"), Record())
        await asyncio.gather(sender.join(), receiver.join())
        assert (sender.room_tokens is None) != (receiver.room_tokens is None)
        assert (sender.room_tokens or receiver.room_tokens) == load_tokens(url, "x")
        await until(lambda: sender.connected and receiver.connected)
        await sender.leave()
        await receiver.leave()

    asyncio.run(run())


def test_state_folder_that_cannot_be_written(run_server: Callable[..., Any]) -> None:
    async def run() -> None:
        state_file().parent.parent.parent.mkdir(parents=True, exist_ok=True)
        state_file().parent.parent.write_text("a file where the folder should be")
        call = SendingCall(Place(run_server().url, "x"), Record())
        await call.join()
        assert call.room_tokens is not None
        await call.leave()

    asyncio.run(run())


GARBAGE = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}",
    b'HTTP/1.1 201 Created\r\nContent-Length: 27\r\n\r\n{"tokens": {"a/sender": 17}}',
    b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 404 No\r\nContent-Length: 20\r\n\r\n{"error": "\\u001b[2J"}',
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
]


@pytest.mark.parametrize("reply", GARBAGE, ids=lambda r: r[:16].decode() or "nothing")
def test_server_that_answers_garbage(reply: bytes) -> None:
    async def run() -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(reply)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        call = SendingCall(Place(f"http://127.0.0.1:{port}", "x"), Record())
        with pytest.raises(UserError) as info:
            await call.join()
        server.close()
        return str(info.value)

    line = asyncio.run(run())
    assert line.isprintable() and "127.0.0.1" in line and len(line) < 250


def test_ice_servers_from_the_server_are_checked() -> None:
    async def run(urls: object) -> None:
        body = json.dumps({"ice_servers": [{"urls": urls}]}).encode()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with SignalingClient(Place(f"http://127.0.0.1:{port}", "x", "token"), "sender") as client:
            if urls == "stun:host:3478":
                assert [s.urls for s in await client.enter()] == [urls]
            else:
                with pytest.raises(UserError):
                    await client.enter()
        server.close()

    for urls in ("stun:host:3478", "http://host", "stun:", 3, None, ["stun:host"], "stun:a b"):
        asyncio.run(run(urls))
