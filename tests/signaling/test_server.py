from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from signaling.rooms import RoomLimits
from signaling.server import IceServer, ServerConfig

pytestmark = pytest.mark.net

SDP = {"Content-Type": "application/sdp"}
OFFER, ANSWER = "v=0\r\noffer", "v=0\r\nanswer"
MEMBERS = {"sender": "sender-member-0001", "receiver": "receiver-member-01", "viewer": "viewer-member-0001"}


class Room:
    """Room x at a server, with its tokens."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)
        self.tokens: dict[str, str] = self.http.post("/rooms/x").json()["tokens"]

    def headers(self, role: str, member: str | None = None, **more: str) -> dict[str, str]:
        token = self.tokens[f"a/{role}"]
        return {"Authorization": f"Bearer {token}", "Pinhole-Member": member or MEMBERS[role]} | more

    def call(self, method: str, path: str, role: str, sdp: str | None = None, **more: str) -> httpx.Response:
        headers = self.headers(role, **more) | (SDP if sdp is not None else {})
        return self.http.request(method, f"/rooms/x/a/{path}", headers=headers, content=sdp)


@pytest.fixture
def room(run_server: Callable[..., Any]) -> Iterator[Room]:
    room = Room(run_server().url)
    yield room
    room.http.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def session_of(response: httpx.Response) -> str:
    return response.headers["location"].rpartition("/")[2]


def negotiate(room: Room, pool: ThreadPoolExecutor) -> str:
    """A session with offer and answer -> its name."""
    sender: Future[httpx.Response] = pool.submit(room.call, "POST", "sender", "sender", OFFER)
    offered = room.call("GET", "receiver", "receiver")
    assert (offered.status_code, offered.text) == (200, OFFER)
    assert offered.headers["content-type"].startswith("application/sdp")
    assert room.call("PUT", f"receiver/{session_of(offered)}", "receiver", ANSWER).status_code == 204
    answered = sender.result(5)
    assert (answered.status_code, answered.text) == (201, ANSWER)
    assert answered.headers["location"] == f"/rooms/x/a/sender/{session_of(offered)}"
    return session_of(offered)


def refuses(response: httpx.Response, status: int) -> str:
    """The response is a refusal in one plain sentence."""
    assert response.status_code == status, response.text
    text: str = response.json()["error"]
    assert list(response.json()) == ["error"] and text.isprintable() and 10 < len(text) < 200
    return text


def test_health(room: Room) -> None:
    response = room.http.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_offer_waits_for_the_answer(room: Room, pool: ThreadPoolExecutor) -> None:
    session = negotiate(room, pool)
    watching = pool.submit(room.call, "GET", f"sender/{session}", "sender")
    waiting = pool.submit(room.call, "GET", "receiver", "receiver")
    time.sleep(0.1)
    assert not watching.done() and not waiting.done()
    assert room.call("DELETE", f"receiver/{session}", "receiver").status_code == 204
    refuses(watching.result(5), 410)
    assert waiting.result(5).status_code == 204


def test_nobody_answers(room: Room) -> None:
    start = time.monotonic()
    response = room.call("POST", "sender", "sender", OFFER)
    assert time.monotonic() - start >= 0.9
    refuses(response, 504)
    assert response.headers["retry-after"].isdecimal()
    assert response.headers["pinhole-member"] == MEMBERS["sender"]


def test_receiver_without_an_offer(room: Room) -> None:
    assert room.call("GET", "receiver", "receiver").status_code == 204


def test_watch_of_a_session_that_stays(room: Room, pool: ThreadPoolExecutor) -> None:
    session = negotiate(room, pool)
    assert room.call("GET", f"sender/{session}", "sender").status_code == 204


def test_new_receiver_makes_the_sender_renew(room: Room, pool: ThreadPoolExecutor) -> None:
    session = negotiate(room, pool)
    watching = pool.submit(room.call, "GET", f"sender/{session}", "sender")
    assert room.call("DELETE", "receiver", "receiver").status_code == 204
    refuses(watching.result(5), 410)
    assert room.call("PUT", "receiver", "receiver", member="another-receiver").status_code == 200


def test_tokens_and_roles(room: Room) -> None:
    refuses(room.http.put("/rooms/x/a/sender"), 401)
    refuses(room.http.put("/rooms/x/a/sender", headers={"Authorization": "Basic abc"}), 401)
    wrong = room.http.put("/rooms/x/a/sender", headers={"Authorization": "Bearer wrong"})
    refuses(wrong, 401)
    assert wrong.headers["www-authenticate"] == "Bearer"
    assert "a/receiver" in refuses(room.call("PUT", "sender", "receiver"), 403)
    assert "nowhere" not in refuses(room.http.put("/rooms/nowhere/a/sender", headers=room.headers("sender")), 404)
    refuses(room.http.put("/rooms/x/c/sender", headers=room.headers("sender")), 404)
    refuses(room.http.put("/rooms/x/a/watcher", headers=room.headers("sender")), 404)
    refuses(room.http.put("/rooms/x/a/viewer", headers=room.headers("sender")), 403)
    for method, path, role in (
        ("POST", "receiver", "receiver"),
        ("GET", "sender", "sender"),
        ("GET", "viewer", "viewer"),
    ):
        refuses(room.call(method, path, role), 405)
    refuses(room.http.put(f"/rooms/x/a/sender?token={room.tokens['a/sender']}"), 401)
    for method, path in (("PATCH", "sender/abc"), ("DELETE", "sender/abc"), ("GET", "sender/abc/candidates")):
        refuses(room.http.request(method, f"/rooms/x/a/{path}"), 401)


def test_occupied_place(room: Room, pool: ThreadPoolExecutor) -> None:
    assert room.call("PUT", "receiver", "receiver").status_code == 200
    waiting = pool.submit(room.call, "GET", "receiver", "receiver")
    time.sleep(0.1)
    assert "taken" in refuses(room.call("PUT", "receiver", "receiver", member="another-receiver"), 409)
    assert room.call("PUT", "receiver", "receiver").status_code == 200
    waiting.result(5)


def test_client_that_hangs_up_frees_its_place(run_server: Callable[..., Any]) -> None:
    config = ServerConfig(wait_s=30, limits=RoomLimits(silent_s=0.2))
    room = Room(run_server(config).url)
    with pytest.raises(httpx.ReadTimeout):
        room.http.get("/rooms/x/a/receiver", headers=room.headers("receiver"), timeout=0.3)
    deadline = time.monotonic() + 3
    while room.call("PUT", "receiver", "receiver", member="another-receiver").status_code != 200:
        assert time.monotonic() < deadline, "the place stays taken"
        time.sleep(0.05)


def test_trickle(room: Room, pool: ThreadPoolExecutor) -> None:
    session = negotiate(room, pool)
    kind = {"Content-Type": "application/trickle-ice-sdpfrag"}
    waiting = pool.submit(room.call, "GET", f"receiver/{session}/candidates", "receiver")
    time.sleep(0.1)
    for text in ("a=candidate:1\r\n", "a=candidate:2\r\n"):
        path = f"/rooms/x/a/sender/{session}"
        assert room.http.patch(path, headers=room.headers("sender") | kind, content=text).status_code == 204
    first = waiting.result(5)
    assert first.text.startswith("a=candidate:1") and first.headers["content-type"].startswith(kind["Content-Type"])
    rest = room.http.get(
        f"/rooms/x/a/receiver/{session}/candidates", headers=room.headers("receiver") | {"If-None-Match": '"1"'}
    )
    assert (rest.text, rest.headers["etag"]) == ("a=candidate:2\r\n", '"2"')
    assert room.call("GET", f"sender/{session}/candidates", "sender").status_code == 204
    path = f"/rooms/x/a/sender/{session}"
    refuses(room.http.patch(path, headers=room.headers("sender") | kind, content="x" * 5000), 413)
    refuses(room.http.patch(path, headers=room.headers("sender") | SDP, content="x"), 415)
    for _ in range(30):
        room.http.patch(path, headers=room.headers("sender") | kind, content="x")
    refuses(room.http.patch(path, headers=room.headers("sender") | kind, content="x"), 413)


def test_bad_bodies(room: Room) -> None:
    refuses(room.call("POST", "sender", "sender", "v=0" + "x" * 65_536), 413)
    refuses(room.call("POST", "sender", "sender", ""), 400)
    path = "/rooms/x/a/sender"
    refuses(room.http.post(path, headers=room.headers("sender"), content=OFFER), 415)
    refuses(room.http.post(path, headers=room.headers("sender") | SDP, content=b"\xff\xfe"), 400)
    refuses(room.http.post("/rooms/y", content=b"x"), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield bytes(65_536)

    with room.http.stream("POST", path, headers=room.headers("sender") | SDP, content=endless()) as response:
        assert response.status_code == 413


def test_addresses_that_do_not_exist(room: Room) -> None:
    refuses(room.http.get("/nothing.js"), 404)
    refuses(room.http.get("/docs"), 404)
    refuses(room.http.get("/openapi.json"), 404)
    refuses(room.http.get("/rooms/x"), 405)
    refuses(room.call("PUT", "receiver/unknown", "receiver", ANSWER), 410)
    refuses(room.call("GET", "sender/unknown", "sender"), 410)


def test_rooms_are_limited(run_server: Callable[..., Any]) -> None:
    room = Room(run_server(ServerConfig(limits=RoomLimits(max_rooms=2), rooms_per_minute=5)).url)
    refuses(room.http.post("/rooms/x"), 409)
    refuses(room.http.post("/rooms/a%20b"), 400)
    assert room.http.post("/rooms/y").status_code == 201
    response = room.http.post("/rooms/z")
    refuses(response, 503)
    response = room.http.post("/rooms/z")
    refuses(response, 429)
    assert response.headers["retry-after"] == "60"


def test_wrong_tokens_are_limited(run_server: Callable[..., Any]) -> None:
    room = Room(run_server(ServerConfig(failures_per_minute=3)).url)
    for _ in range(3):
        refuses(room.http.put("/rooms/x/a/sender", headers={"Authorization": "Bearer wrong"}), 401)
    refuses(room.http.put("/rooms/x/a/sender", headers={"Authorization": "Bearer wrong"}), 429)


def test_ice_servers_are_handed_out_to_members_only(run_server: Callable[..., Any], pool: ThreadPoolExecutor) -> None:
    servers = (IceServer("stun:stun.example:3478"), IceServer("turn:turn.example", "user", 'pass"word'))
    room = Room(run_server(ServerConfig(ice_servers=servers, wait_s=1)).url)
    response = room.call("PUT", "sender", "sender")
    assert response.json()["ice_servers"] == [
        {"urls": "stun:stun.example:3478", "username": None, "credential": None},
        {"urls": "turn:turn.example", "username": "user", "credential": 'pass"word'},
    ]
    assert response.headers["link"] == (
        '<stun:stun.example:3478>; rel="ice-server", <turn:turn.example>; rel="ice-server"; '
        'username="user"; credential="pass\\"word"; credential-type="password"'
    )
    assert "turn" not in room.http.put("/rooms/x/a/sender").text


def test_server_gives_a_plain_whip_client_its_member_secret(room: Room) -> None:
    headers = {"Authorization": f"Bearer {room.tokens['a/sender']}"}
    response = room.http.put("/rooms/x/a/sender", headers=headers)
    assert response.status_code == 200
    member = response.headers["pinhole-member"]
    assert len(member) >= 16
    refuses(room.http.put("/rooms/x/a/sender", headers=headers), 409)
    assert room.http.put("/rooms/x/a/sender", headers=headers | {"Pinhole-Member": member}).status_code == 200


def test_stops_at_once_while_requests_wait(run_server: Callable[..., Any], pool: ThreadPoolExecutor) -> None:
    running = run_server(ServerConfig(wait_s=60))
    room = Room(running.url)
    waiting = [
        pool.submit(room.call, "GET", "receiver", "receiver"),
        pool.submit(room.call, "POST", "sender", "sender", OFFER),
    ]
    waiting += [pool.submit(room.call, "GET", "receiver", "receiver") for _ in range(5)]
    time.sleep(0.3)
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    stopping.join(2)
    assert not stopping.is_alive()
    for future in waiting:
        future.exception(1)
