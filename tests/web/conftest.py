"""Pages in a real browser: Debian's Chromium, one for the session."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page_of(browser, tmp_path):
    """Opens HTML as a file: `page_of(html, width=1280, height=900, dark=False)`. When the test ends, no page has asked
    for anything but its own file, and none has complained."""
    contexts, wrong = [], []

    def opened(html: str, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        file = Path(tmp_path, f"{len(contexts)}.html")
        file.write_text(html, encoding="utf-8")
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}") if said.type != "log" else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith((file.as_uri(), "blob:", "data:")) else wrong.append(asked.url),
        )
        page.goto(file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)
