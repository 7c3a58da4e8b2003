from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from signaling.page_files import HEADERS, TYPES, page_files
from signaling.server import ServerConfig


@pytest.mark.unit
def test_only_known_kinds_of_files_are_served(tmp_path: Path) -> None:
    for name in ("index.html", "view/main.js", "notes.txt", "key.pem"):
        path = tmp_path / "static" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    files = page_files(tmp_path / "static", tmp_path)
    assert set(files) == {"", "index.html", "view/main.js"}


@pytest.mark.net
def test_everything_carries_a_strict_policy(run_server: Callable[..., Any]) -> None:
    with httpx.Client(base_url=run_server().url, trust_env=False) as client:
        assert client.get("/").status_code == 200
        for path in (*page_files(), "health", "nothing.js", "rooms/x"):
            response = client.get(f"/{path}")
            for name, value in HEADERS.items():
                assert response.headers[name] == value, (path, name)
            policy = response.headers["content-security-policy"]
            assert "unsafe" not in policy and "*" not in policy
            if path in page_files():
                assert response.status_code == 200 and response.content
                assert response.headers["content-type"] in TYPES.values()
        again = client.get("/", headers={"If-None-Match": client.get("/").headers["etag"]})
        assert again.status_code == 304 and not again.content


@pytest.mark.net
def test_the_page_has_nothing_inline_and_nothing_foreign(run_server: Callable[..., Any]) -> None:
    with httpx.Client(base_url=run_server().url, trust_env=False) as client:
        for path in page_files():
            if not path.endswith((".html", ".js", ".css")):
                continue
            text = client.get(f"/{path}").text
            for known in ("http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"):
                text = text.replace(known, "")
            assert 'src="http' not in text and "url(http" not in text and 'import("http' not in text, path
            if path.endswith(".html"):
                assert " style=" not in text and "<style" not in text and " onclick=" not in text
                assert text.count("<script") == text.count('<script type="module" src=')


@pytest.mark.net
def test_the_comparison_and_nothing_beside_it(run_server: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "compare"
    folder.mkdir()
    (folder / "compare.json").write_text("{}")
    (folder / "ours.mp4").write_bytes(bytes(range(100)))
    (folder / "secret.pem").write_text("x")
    (tmp_path / "outside.json").write_text("{}")
    with httpx.Client(base_url=run_server(ServerConfig(compare=folder)).url, trust_env=False) as client:
        assert client.get("/compare/compare.json").json() == {}
        part = client.get("/compare/ours.mp4", headers={"Range": "bytes=10-19"})
        assert part.status_code == 206 and part.content == bytes(range(10, 20))
        for path in ("secret.pem", "..%2foutside.json", "%2e%2e/outside.json", "x/../../outside.json", "", "."):
            assert client.get(f"/compare/{path}").status_code == 404, path
    with httpx.Client(base_url=run_server().url, trust_env=False) as client:
        assert client.get("/compare/compare.json").status_code == 404
