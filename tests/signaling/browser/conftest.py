from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.signaling.browser.call_parts import CHROMIUM, WATCH
from tests.signaling.browser.page_parts import DEVICES, Rooms, Tab


@pytest.fixture(scope="module")
def browsers() -> Iterator[Callable[[str], Any]]:
    """Browsers by their devices; each is started once."""
    from playwright.sync_api import sync_playwright

    started: dict[str, Any] = {}
    with sync_playwright() as playwright:

        def browser(devices: str) -> Any:
            if devices not in started:
                args = list(DEVICES[devices])
                started[devices] = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
            return started[devices]

        yield browser
        for one in started.values():
            one.close()


@pytest.fixture
def open_tab(browsers: Callable[[str], Any]) -> Iterator[Callable[..., Tab]]:
    """Opens an address in a context of its own; in the end no host but ours was asked, and nothing was uncaught."""
    contexts: list[Any] = []
    tabs: list[Tab] = []

    def open_one(address: str, script: str = "", devices: str = "camera", size: tuple[int, int] = (1280, 900)) -> Tab:
        context = browsers(devices).new_context(viewport={"width": size[0], "height": size[1]}, reduced_motion="reduce")
        contexts.append(context)
        context.add_init_script(WATCH)
        if script:
            context.add_init_script(script)
        tab = Tab(context.new_page())
        tabs.append(tab)
        tab.page.goto(address)
        tab.seen("window.pinhole")
        return tab

    yield open_one
    for context in contexts:
        context.close()
    for tab in tabs:
        assert not tab.own_complaints
        own = ("http://127.0.0.1:", "http://pinhole.test:", "blob:", "data:")
        assert all(url.startswith(own) for url in tab.urls), tab.urls


@pytest.fixture
def rooms(run_server: Callable[..., Any]) -> Rooms:
    return Rooms(run_server())
