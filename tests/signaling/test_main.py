from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from codec_models.errors import UserError
from signaling.main import listen, serve

pytestmark = pytest.mark.net


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """The command in a process of its own -> the process and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "signaling.main", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    match = re.fullmatch(r"signaling: listening on (https?://127\.0\.0\.1:\d+)\n", process.stdout.readline())
    assert match
    return process, match[1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_it_while_a_request_waits(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    process, url = start("--room", "kept", "--token-file", str(file))
    try:
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        tokens = json.loads(file.read_text())
        headers = {"Authorization": f"Bearer {tokens['a/receiver']}"}

        def wait() -> None:
            with httpx.Client(trust_env=False) as http:
                http.get(f"{url}/rooms/kept/a/receiver", headers=headers, timeout=30)

        waiting = threading.Thread(target=wait, daemon=True)
        waiting.start()
        time.sleep(0.3)
        start_time = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert time.monotonic() - start_time < 2
        assert process.stderr is not None and process.stderr.read() == ""
    finally:
        process.kill()


def test_port_in_use() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "signaling.main", "--port", str(port)], capture_output=True, text=True, timeout=20
        )
    assert done.returncode == 1
    assert re.fullmatch(rf"error: cannot listen on 127\.0\.0\.1 port {port} \(.*\): choose another.*\n", done.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "nowhere.invalid"], "--host"),
        (["--port", "70000"], "port 70000"),
        (["--ice", "http://x"], "stun:host:3478"),
        (["--ice", "turn:host"], "--ice-user"),
        (["--room", "x"], "--token-file"),
        (["--room", "x", "--token-file", "a", "--token-file", "b"], "--token-file"),
        (["--room", "a b", "--token-file", "{tmp}/t"], "room name"),
        (["--room", "x", "--token-file", "{tmp}/no/such/folder"], "token file"),
        (["--room", "x", "--token-file", "{tmp}/broken"], "token file"),
        (["--room", "x", "--token-file", "{tmp}/partial"], "token file"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else "",
)
def test_bad_arguments(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("not json")
    (tmp_path / "partial").write_text('{"a/sender": "x"}')
    with pytest.raises(UserError) as info:
        serve(["--port", "0", *(a.replace("{tmp}", str(tmp_path)) for a in arguments)])
    assert words in str(info.value) and str(info.value).isprintable()


def test_listen_on_a_free_port() -> None:
    with listen("127.0.0.1", 0) as sock:
        assert sock.getsockname()[1] > 0


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's own and its key."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    return folder / "cert.pem", folder / "key.pem"


def test_https(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    process, url = start("--tls-cert", str(cert), "--tls-key", str(key))
    try:
        assert url.startswith("https://")
        with httpx.Client(verify=False, trust_env=False) as http:
            assert http.get(f"{url}/health").json() == {"status": "ok"}
            assert "<title>Pinhole" in http.get(url).text
    finally:
        process.kill()


def test_certificates_that_cannot_be_used_get_one_line(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    (tmp_path / "other.pem").write_text("no certificate")
    for arguments, words in (
        (["--tls-cert", str(cert)], "both --tls-cert and --tls-key"),
        (["--tls-cert", str(tmp_path / "none.pem"), "--tls-key", str(key)], "cannot use the certificate"),
        (["--tls-cert", str(tmp_path / "other.pem"), "--tls-key", str(key)], "cannot use the certificate"),
        (["--compare", str(tmp_path)], "benchmarks.bpp --compare"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            serve(["--port", "0", *arguments])
        assert "\n" not in str(caught.value)
