"""Session descriptions (RFC 8866) from the network, checked and trimmed before aiortc parses them."""

from __future__ import annotations

from codec_models.bitstream.timing import TICK_MS

SDP_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"
MAX_SDP_BYTES = 65_536
MAX_CANDIDATES = 32
END_OF_CANDIDATES = "a=end-of-candidates"


class DescriptionError(ValueError):
    """The text is not a session description that a call can use; says in one line what is missing."""


def check_description(sdp: str) -> str:
    """Return the description without mDNS candidates, candidates beyond the 32nd of a stream, and header extensions
    other than those of a video stream.

    Raises DescriptionError when it lacks what aiortc takes for granted. Header extensions (RFC 8285) would cost 8
    bytes a packet; video needs them to know what the link can carry. A name under .local would make us ask the local
    network for it; a hostile peer could name many.
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
    streams = [line[2:].partition(" ")[0] for line in lines if line.startswith("m=")]
    if sorted(streams) not in (["application", "audio"], ["application", "audio", "video"]):
        raise DescriptionError("a call has one audio stream, one data channel transport and at most one video stream")
    kept, candidates, stream = [], 0, ""
    for line in lines:
        if line.startswith("a=extmap") and stream != "video":
            continue
        if line.startswith("m="):
            candidates, stream = 0, line[2:].partition(" ")[0]
        if line.startswith("a=candidate:"):
            candidates += 1
            if not _usable(line) or candidates > MAX_CANDIDATES:
                continue
        kept.append(line)
    return "\r\n".join(kept)


def of_a_browser(sdp: str) -> bool:
    """Whether an offer's voice is a track of its own (Opus), its faces then on a data channel, and not in ticks."""
    return any(line.startswith("a=rtpmap:") and " opus/" in line.lower() for line in sdp.splitlines())


def for_a_browser(sdp: str, kbps: int) -> str:
    """The answer with what a browser's voice encoder is to do: mono, so many kb/s, packets of a tick (RFC 7587)."""
    lines: list[str] = []
    payload = None
    for line in sdp.replace("\r\n", "\n").split("\n"):
        if line.startswith("a=rtpmap:") and " opus/" in line.lower() and payload is None:
            payload = line.removeprefix("a=rtpmap:").partition(" ")[0]
            wanted = (
                f"maxaveragebitrate={1000 * kbps};maxplaybackrate=24000;stereo=0;sprop-stereo=0;useinbandfec=0;usedtx=0"
            )
            lines += [line, f"a=fmtp:{payload} {wanted}", f"a=ptime:{TICK_MS}"]
            continue
        if payload is not None and line.startswith(f"a=fmtp:{payload} "):
            continue
        lines.append(line)
    return "\r\n".join(lines)


def trickled(fragment: str) -> tuple[list[str], bool]:
    """Candidates of an SDP fragment (RFC 8840), each without "a=candidate:", and whether it says that they are all."""
    lines = fragment.replace("\r\n", "\n").split("\n")
    candidates = [line for line in lines if line.startswith("a=candidate:") and _usable(line)][:MAX_CANDIDATES]
    return [line.removeprefix("a=candidate:") for line in candidates], END_OF_CANDIDATES in lines


def _usable(line: str) -> bool:
    return ".local" not in line
