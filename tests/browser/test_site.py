"""The documentation site behind a plain file server."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Page, expect

from tests.docs.test_site import ROOT, build
from tests.support.tiny import wait_until


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    built = build(ROOT, tmp_path)
    assert built.returncode == 0, built.stderr

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_site_is_searched_in_a_browser(page: Page, address: str) -> None:
    page.goto(f"{address}/index.html")
    page.get_by_role("textbox", name="Search").click()
    results = page.locator(".md-search-result__item")

    def found() -> int:
        # Text that is entered before the index is loaded is not searched.
        page.get_by_role("textbox", name="Search").fill("")
        page.get_by_role("textbox", name="Search").press_sequentially("teacher store")
        page.wait_for_timeout(500)
        return results.count()

    wait_until(found)
    expect(results.first).to_be_visible()
    page.locator(".md-search-result__item a").first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
