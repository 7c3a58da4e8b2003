"""The console command `signaling`: the server that brings sender and receiver together."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from codec_models.errors import CommandParser, UserError, run_command

from .rooms import PLACES, RoomError, new_tokens
from .server import IceServer, ServerConfig, Signaling, create_app
from .tokens import parse_tokens, write_private

MAX_CONNECTIONS = 4096
_ICE_URL = re.compile(r"(stun|turn|turns):[^\s\"<>]{1,255}")


class Server(uvicorn.Server):
    """uvicorn, which on its way out first lets go of the requests that wait."""

    def __init__(self, config: uvicorn.Config, signaling: Signaling) -> None:
        super().__init__(config)
        self.signaling = signaling

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.signaling.close()
        await super().shutdown(sockets)


def make_server(config: ServerConfig, certificate: tuple[Path, Path] | None = None) -> Server:
    """A server that is ready to `run(sockets=[...])` or `serve(sockets=[...])`; its app is `config.app`.

    certificate: files of the certificate and its key, for https. Raises UserError where they cannot be used.
    """
    app = create_app(config)
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=1,
        limit_concurrency=MAX_CONNECTIONS,
    )
    if certificate is not None:
        settings.ssl_certfile, settings.ssl_keyfile = map(str, certificate)
        try:
            settings.load()
        except OSError as e:  # of the files, or of what is in them
            reason = e.strerror or str(e)
            raise UserError(
                f"cannot use the certificate {certificate[0]} with the key {certificate[1]}: {reason}"
            ) from None
    return Server(settings, app.state.signaling)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises UserError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise UserError(f"{host!r} is no address of this machine: try --host 127.0.0.1 or --host 0.0.0.0") from None
    family, kind, _, _, address = found[0]
    sock = socket.socket(family, kind)
    try:
        if sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)
    except OSError as e:
        sock.close()
        raise UserError(
            f"cannot listen on {host} port {port} ({e.strerror}): choose another with --port, 0 for any"
        ) from None
    return sock


def operator_tokens(path: Path) -> dict[str, str]:
    """The tokens in a file; a file that does not exist is written with new ones, mode 0600. Raises UserError."""
    try:
        if not path.exists():
            tokens = new_tokens()
            write_private(path, json.dumps(tokens, indent=1) + "\n")
            return tokens
        read = parse_tokens(json.loads(path.read_text(encoding="utf-8")))
    except OSError as e:
        raise UserError(f"cannot use the token file {path}: {e.strerror}") from None
    except (ValueError, RecursionError):
        read = None
    if read is None or set(read) != set(PLACES) or len(set(read.values())) != len(PLACES):
        raise UserError(f"{path} is no token file: it must have one token for each of {', '.join(PLACES)}")
    return read


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="signaling", description="Bring Pinhole senders and receivers together.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080, 0 for any free one)")
    parser.add_argument(
        "--ice",
        action="append",
        default=[],
        metavar="URL",
        help="hand out this STUN or TURN server (stun:, turn:, turns:)",
    )
    parser.add_argument("--ice-user", metavar="U", help="user name for the TURN servers")
    parser.add_argument(
        "--ice-password", metavar="P", help="password for the TURN servers (or PINHOLE_ICE_PASSWORD in the environment)"
    )
    parser.add_argument("--room", action="append", default=[], metavar="NAME", help="open this room; it never expires")
    parser.add_argument(
        "--token-file", action="append", default=[], metavar="F", help="tokens of the --room before; written if missing"
    )
    parser.add_argument("--tls-cert", type=Path, metavar="F", help="serve https with this certificate (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="F", help="private key of the certificate (PEM)")
    parser.add_argument(
        "--compare", type=Path, metavar="FOLDER", help="show what benchmarks.bpp --compare has left there"
    )
    return parser


def _ice_servers(urls: Sequence[str], user: str | None, password: str | None) -> tuple[IceServer, ...]:
    servers = []
    for url in urls:
        if not _ICE_URL.fullmatch(url):
            raise UserError(f"{url!r} is no ICE server: write it like stun:host:3478 or turn:host:3478")
        if url.startswith("stun:"):
            servers.append(IceServer(url))
        elif user and password:
            servers.append(IceServer(url, user, password))
        else:
            raise UserError(f"{url} needs --ice-user and --ice-password")
    return tuple(servers)


def serve(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop. Raises UserError."""
    args = _parser().parse_args(arguments)
    if not 0 <= args.port <= 65535:
        raise UserError(f"there is no port {args.port}: choose one from 0 to 65535")
    if len(args.token_file) not in (0, len(args.room)):
        raise UserError("give each --room its own --token-file")
    if args.room and not args.token_file:
        raise UserError("a --room needs a --token-file, where its tokens are kept")
    password = args.ice_password or os.environ.get("PINHOLE_ICE_PASSWORD")
    if (args.tls_cert is None) != (args.tls_key is None):
        raise UserError("https needs both --tls-cert and --tls-key")
    if args.compare is not None and not (args.compare / "compare.json").is_file():
        raise UserError(
            f"no comparison in {args.compare}: make one with python -m benchmarks.bpp --compare {args.compare}"
        )
    config = ServerConfig(ice_servers=_ice_servers(args.ice, args.ice_user, password), compare=args.compare)
    server = make_server(config, None if args.tls_cert is None else (args.tls_cert, args.tls_key))
    sock = listen(args.host, args.port)
    with contextlib.closing(sock):
        for room, file in zip(args.room, args.token_file, strict=True):
            try:
                server.signaling.rooms.create(room, time.monotonic(), operator_tokens(Path(file)), permanent=True)
            except RoomError as e:
                raise UserError(str(e)) from None
        host, port = sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if args.tls_cert is None else "https"
        print(f"signaling: listening on {scheme}://{shown}:{port}", flush=True)
        if scheme == "http" and not ipaddress.ip_address(host).is_loopback:
            print(
                "signaling: tokens travel unencrypted, and browsers give such a page no camera: use --tls-cert and "
                "--tls-key, or put a TLS proxy in front",
                file=sys.stderr,
                flush=True,
            )
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[sock])
    return 0


def command() -> None:
    """Entry point of the console command."""
    run_command(serve)


if __name__ == "__main__":
    command()
