from __future__ import annotations

import pytest

from signaling.description import for_a_browser, of_a_browser

pytestmark = pytest.mark.unit

OFFER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:63 red/48000/2\r\na=rtpmap:111 opus/48000/2\r\n"


def test_who_offers_opus_is_a_browser() -> None:
    assert of_a_browser(OFFER)
    assert not of_a_browser("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 110\r\na=rtpmap:110 pinhole/48000\r\n")


def test_a_browsers_voice_is_mono_and_thin() -> None:
    answer = OFFER + "a=fmtp:111 minptime=10;useinbandfec=1\r\na=fmtp:63 111/111\r\n"
    lines = for_a_browser(answer, 16).split("\r\n")
    wanted = [line for line in lines if line.startswith("a=fmtp:111 ")]
    assert len(wanted) == 1
    assert {"maxaveragebitrate=16000", "stereo=0", "useinbandfec=0", "usedtx=0"} <= set(
        wanted[0].split(" ")[1].split(";")
    )
    assert "a=ptime:40" in lines and "a=fmtp:63 111/111" in lines
    untouched = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 110\r\na=rtpmap:110 pinhole/48000\r\n"
    assert for_a_browser(untouched, 16) == untouched
