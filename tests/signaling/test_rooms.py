from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from signaling.rooms import MemoryStore, RoomError, RoomLimits, Rooms

pytestmark = pytest.mark.unit

FIRST, SECOND, THIRD = "first-member-0001", "second-member-002", "third-member-0003"
OFFER, ANSWER = "v=0 offer", "v=0 answer"


@contextlib.contextmanager
def refused(status: int) -> Iterator[None]:
    with pytest.raises(RoomError) as info:
        yield
    assert info.value.status == status, info.value
    assert str(info.value).isprintable()


@pytest.fixture
def rooms() -> Rooms:
    return Rooms(RoomLimits(max_rooms=3, max_members=4, idle_s=100, silent_s=5, max_fragments=2))


def test_names(rooms: Rooms) -> None:
    rooms.create("A-z_09", 0)
    rooms.create("x" * 64, 0)
    for bad in ("", "x" * 65, "a b", "ä", "a/b", "a\n", "..", "a.b"):
        with refused(400):
            rooms.create(bad, 0)
    with refused(409):
        rooms.create("A-z_09", 0)


def test_full_server_and_expiry(rooms: Rooms) -> None:
    for name in "abc":
        rooms.create(name, 0)
    with refused(503):
        rooms.create("d", 50)
    rooms.create("d", 101)
    with refused(404):
        rooms.authorise("a", "a", "sender", "x", 101)


def test_room_in_use_does_not_expire(rooms: Rooms) -> None:
    used, idle = rooms.create("used", 0), rooms.create("idle", 0)
    rooms.create("operators", 0, permanent=True)
    rooms.enter("used", "a", "sender", used["a/sender"], FIRST, 0)
    rooms.hold("used", "a", "sender", FIRST, 1, 0)
    rooms.sweep(1000)
    rooms.authorise("used", "a", "sender", used["a/sender"], 1000)
    with refused(401):
        rooms.authorise("operators", "a", "sender", "no", 1000)
    with refused(404):
        rooms.authorise("idle", "a", "sender", idle["a/sender"], 1000)


def test_touched_room_lives_on(rooms: Rooms) -> None:
    tokens = rooms.create("x", 0)
    for now in range(0, 1000, 90):
        rooms.authorise("x", "a", "sender", tokens["a/sender"], now)
        rooms.sweep(now + 90)


def test_tokens_fit_one_place(rooms: Rooms) -> None:
    tokens = rooms.create("x", 0)
    assert len(set(tokens.values())) == 6
    for key, token in tokens.items():
        direction, role = key.split("/")
        rooms.authorise("x", direction, role, token, 0)
    with refused(403):
        rooms.authorise("x", "a", "sender", tokens["a/receiver"], 0)
    rooms.authorise("x", "a", "screen", tokens["a/receiver"], 0)  # the receiver's other place
    with refused(403):
        rooms.authorise("x", "a", "viewer", tokens["a/receiver"], 0)
    with refused(403):
        rooms.authorise("x", "b", "sender", tokens["a/sender"], 0)
    for wrong in ("", tokens["a/sender"][:-1], tokens["a/sender"] + "x", "ä", "\ud800"):
        with refused(401):
            rooms.authorise("x", "a", "sender", wrong, 0)
    with refused(404):
        rooms.authorise("x", "c", "sender", tokens["a/sender"], 0)
    with refused(404):
        rooms.authorise("y", "a", "sender", tokens["a/sender"], 0)


def test_store_holds_no_token() -> None:
    store = MemoryStore()
    tokens = Rooms(store=store).create("x", 0)
    text = repr(store.get("x"))
    assert "token_hash" in text
    assert not any(token in text for token in tokens.values())


def test_place_is_taken_until_silent(rooms: Rooms) -> None:
    token = rooms.create("x", 0)["a/sender"]
    rooms.enter("x", "a", "sender", token, FIRST, 0)
    rooms.enter("x", "a", "sender", token, FIRST, 4)
    with refused(409):
        rooms.enter("x", "a", "sender", token, SECOND, 9)
    rooms.enter("x", "a", "sender", token, SECOND, 9.1)
    with refused(409):
        rooms.enter("x", "a", "sender", token, FIRST, 9.2)


def test_open_request_keeps_the_place(rooms: Rooms) -> None:
    token = rooms.create("x", 0)["a/sender"]
    rooms.enter("x", "a", "sender", token, FIRST, 0)
    rooms.hold("x", "a", "sender", FIRST, 1, 0)
    with refused(409):
        rooms.enter("x", "a", "sender", token, SECOND, 60)
    rooms.hold("x", "a", "sender", SECOND, -1, 60)  # not its place: changes nothing
    with refused(409):
        rooms.enter("x", "a", "sender", token, SECOND, 60)
    rooms.hold("x", "a", "sender", FIRST, -1, 70)
    with refused(409):
        rooms.enter("x", "a", "sender", token, SECOND, 74)
    rooms.enter("x", "a", "sender", token, SECOND, 76)


def test_left_place_is_free_at_once(rooms: Rooms) -> None:
    token = rooms.create("x", 0)["a/sender"]
    rooms.enter("x", "a", "sender", token, FIRST, 0)
    rooms.leave("x", "a", "sender", token, SECOND, 0)  # does not sit there
    with refused(409):
        rooms.enter("x", "a", "sender", token, SECOND, 0)
    rooms.leave("x", "a", "sender", token, FIRST, 0)
    rooms.enter("x", "a", "sender", token, SECOND, 0)


def test_member_secrets(rooms: Rooms) -> None:
    token = rooms.create("x", 0)["a/sender"]
    for bad in ("", "short", "x" * 65, "no spaces allowed in here"):
        with refused(400):
            rooms.enter("x", "a", "sender", token, bad, 0)


def test_full_of_members(rooms: Rooms) -> None:
    for name in "xy":
        tokens = rooms.create(name, 0)
        for role in ("sender", "receiver"):
            rooms.enter(name, "a", role, tokens[f"a/{role}"], FIRST, 0)
    with refused(503):
        rooms.enter("y", "b", "sender", tokens["b/sender"], FIRST, 0)
    rooms.enter("y", "a", "sender", tokens["a/sender"], FIRST, 0)
    rooms.enter("y", "b", "sender", tokens["b/sender"], FIRST, 10)


@pytest.fixture
def seated(rooms: Rooms) -> dict[str, str]:
    """Room x, direction a, with a sender and a receiver that both hold a request open."""
    tokens = rooms.create("x", 0)
    for role, member in (("sender", FIRST), ("receiver", SECOND)):
        rooms.enter("x", "a", role, tokens[f"a/{role}"], member, 0)
        rooms.hold("x", "a", role, member, 1, 0)
    return tokens


def test_offer_and_answer(rooms: Rooms, seated: dict[str, str]) -> None:
    assert rooms.waiting_offer("x", "a", "receiver", 0) is None
    session = rooms.offer("x", "a", "sender", OFFER)
    assert rooms.offer("x", "a", "sender", OFFER) is session
    assert rooms.waiting_offer("x", "a", "receiver", 0) is session
    assert rooms.waiting_offer("x", "b", "receiver", 0) is None
    rooms.answer("x", "a", "receiver", session.id, ANSWER)
    rooms.answer("x", "a", "receiver", session.id, ANSWER)
    with refused(409):
        rooms.answer("x", "a", "receiver", session.id, "another")
    assert session.answer == ANSWER
    assert rooms.waiting_offer("x", "a", "receiver", 0) is None


def test_new_offer_replaces_the_old(rooms: Rooms, seated: dict[str, str]) -> None:
    old = rooms.offer("x", "a", "sender", OFFER)
    new = rooms.offer("x", "a", "sender", OFFER + "2")
    assert old.ended and not new.ended and old.id != new.id
    with refused(410):
        rooms.answer("x", "a", "receiver", old.id, ANSWER)
    rooms.end("x", "a", "receiver", old.id)  # ended already: the new one stays
    assert rooms.session("x", "a", "receiver", new.id) is new
    rooms.end("x", "a", "receiver", new.id)
    with refused(410):
        rooms.session("x", "a", "receiver", new.id)


def test_new_receiver_ends_an_answered_session_only(rooms: Rooms, seated: dict[str, str]) -> None:
    session = rooms.offer("x", "a", "sender", OFFER)
    rooms.hold("x", "a", "receiver", SECOND, -1, 0)
    rooms.enter("x", "a", "receiver", seated["a/receiver"], THIRD, 10)
    assert rooms.waiting_offer("x", "a", "receiver", 10) is session
    rooms.answer("x", "a", "receiver", session.id, ANSWER)
    rooms.enter("x", "a", "receiver", seated["a/receiver"], THIRD, 12)
    assert not session.ended
    rooms.enter("x", "a", "receiver", seated["a/receiver"], SECOND, 30)
    assert session.ended


def test_offer_of_a_sender_that_is_gone_is_not_given_out(rooms: Rooms, seated: dict[str, str]) -> None:
    session = rooms.offer("x", "a", "sender", OFFER)
    rooms.hold("x", "a", "sender", FIRST, -1, 0)
    assert rooms.waiting_offer("x", "a", "receiver", 4) is session
    assert rooms.waiting_offer("x", "a", "receiver", 6) is None
    rooms.enter("x", "a", "sender", seated["a/sender"], THIRD, 6)
    assert session.ended


def test_leaving_ends_the_session(rooms: Rooms, seated: dict[str, str]) -> None:
    session = rooms.offer("x", "a", "sender", OFFER)
    rooms.leave("x", "a", "receiver", seated["a/receiver"], SECOND, 0)
    assert session.ended


def test_trickled_candidates_are_bounded(rooms: Rooms, seated: dict[str, str]) -> None:
    session = rooms.offer("x", "a", "sender", OFFER)
    for i in range(2):
        rooms.add_fragment("x", "a", "sender", session.id, str(i))
    with refused(413):
        rooms.add_fragment("x", "a", "sender", session.id, "2")
    assert session.fragments == {"sender": ["0", "1"], "receiver": []}
    with refused(410):
        rooms.add_fragment("x", "a", "sender", "another", "3")


def test_a_viewer_and_a_sender_have_sessions_of_their_own(rooms: Rooms) -> None:
    tokens = rooms.create("x", 0)
    for role, token in (("sender", "sender"), ("viewer", "viewer"), ("receiver", "receiver"), ("screen", "receiver")):
        rooms.enter("x", "a", role, tokens[f"a/{token}"], FIRST + role, 0)
    sent, watched = rooms.offer("x", "a", "sender", OFFER), rooms.offer("x", "a", "viewer", OFFER)
    assert sent is not watched
    assert (
        rooms.waiting_offer("x", "a", "receiver", 0) is sent and rooms.waiting_offer("x", "a", "screen", 0) is watched
    )
    with refused(410):
        rooms.answer("x", "a", "receiver", watched.id, ANSWER)
    rooms.answer("x", "a", "screen", watched.id, ANSWER)
    rooms.add_fragment("x", "a", "viewer", watched.id, "theirs")
    rooms.add_fragment("x", "a", "screen", watched.id, "ours")
    assert watched.fragments == {"viewer": ["theirs"], "screen": ["ours"]}
    rooms.leave("x", "a", "viewer", tokens["a/viewer"], FIRST + "viewer", 0)
    assert watched.ended and not sent.ended
