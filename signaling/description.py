"""Session descriptions (RFC 8866) from the network, checked and trimmed before aiortc parses them."""

from __future__ import annotations

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
MAX_SDP_BYTES = 65_536
MAX_CANDIDATES = 32
END_OF_CANDIDATES = "a=end-of-candidates"


class DescriptionError(ValueError):
    """The text is not a session description that a call can use; says in one line what is missing."""


def check_description(sdp: str) -> str:
    """Return the description without header extensions, mDNS candidates and candidates beyond the 32nd of a stream.

    Raises DescriptionError when it lacks what aiortc takes for granted. Header extensions (RFC 8285) would cost 8
    bytes a packet. A name under .local would make us ask the local network for it; a hostile peer could name many.
    """
    if len(sdp.encode(errors="replace")) > MAX_SDP_BYTES:
        raise DescriptionError("the session description is too long")
    lines = sdp.replace("\r\n", "\n").split("\n")
    if lines[0] != "v=0":
        raise DescriptionError("this is not a session description")
    for prefix, what in (
        ("m=audio ", "audio"),
        ("m=application ", "data channels"),
        ("a=fingerprint:", "DTLS fingerprint"),
        ("a=ice-ufrag:", "ICE user name"),
        ("a=ice-pwd:", "ICE password"),
    ):
        if not any(line.startswith(prefix) for line in lines):
            raise DescriptionError(f"the session description has no {what}")
    if sum(line.startswith("m=") for line in lines) != 2:
        raise DescriptionError("a call has one audio stream and one data channel transport")
    kept, candidates = [], 0
    for line in lines:
        if line.startswith("a=extmap"):
            continue
        if line.startswith("m="):
            candidates = 0
        if line.startswith("a=candidate:"):
            candidates += 1
            if not _usable(line) or candidates > MAX_CANDIDATES:
                continue
        kept.append(line)
    return "\r\n".join(kept)


def trickled(fragment: str) -> tuple[list[str], bool]:
    """Candidates of an SDP fragment (RFC 8840), each without "a=candidate:", and whether it says that they are all."""
    lines = fragment.replace("\r\n", "\n").split("\n")
    candidates = [line for line in lines if line.startswith("a=candidate:") and _usable(line)][:MAX_CANDIDATES]
    return [line.removeprefix("a=candidate:") for line in candidates], END_OF_CANDIDATES in lines


def _usable(line: str) -> bool:
    return ".local" not in line
