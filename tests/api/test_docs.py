"""The API reference in a real browser: it renders, wide and narrow, and asks nobody but the service."""

import gzip
import re
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from browser import Browser
from fundament.api.docs import RENDERER, STATIC
from programs import find_program
from service import Service

DESKTOP_WIDTH, PHONE_WIDTH = 1440, 390
DRAWN = "document.body && document.body.innerText.includes('Create a chat completion')"


@pytest.fixture(scope="module", params=[DESKTOP_WIDTH, PHONE_WIDTH])
def page(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    scripted_service: Service,
    lacking: Callable[[str], NoReturn],
) -> Iterator[Browser]:
    """The reference as it is drawn, on a desktop and on a phone."""
    executable = find_program("chromium", "google-chrome", package="chromium")
    if executable is None:
        lacking("Chromium")
    with Browser(executable, tmp_path_factory.mktemp("chromium"), width=request.param) as browser:
        browser.open(f"http://127.0.0.1:{scripted_service.port}/docs")
        assert browser.wait_for(DRAWN), (browser.problems, browser.text())
        yield browser


def test_the_page_shows_operations_parameters_and_samples(page: Browser) -> None:
    assert page.wait_for("document.body.innerText.includes('frequency_penalty')")
    text = page.text()
    for part in ("Fundament", "/chat/completions", "Above 0, tokens are less likely", "open-model"):
        assert part in text, part


def test_samples_have_the_address_that_the_browser_knows(page: Browser, scripted_service: Service) -> None:
    assert page.wait_for(f"document.body.innerText.includes('curl http://127.0.0.1:{scripted_service.port}/v2/chat')")


def test_only_the_service_is_asked(page: Browser, scripted_service: Service) -> None:
    # Sections are drawn as they are scrolled to.
    assert page.wait_for(
        "window.scrollTo(0, document.body.scrollHeight), document.body.innerText.includes('Readiness')"
    )
    own = f"http://127.0.0.1:{scripted_service.port}/"
    assert {url for url in page.asked if not url.startswith((own, "data:", "blob:"))} == set()
    assert f"{own}openapi.json" in page.asked
    assert page.problems == []


def test_another_host_could_not_be_asked(page: Browser) -> None:
    before = len(page.asked)
    refused = page.run("fetch('https://fonts.scalar.com/inter-latin.woff2').then(() => 'asked', () => 'refused')")
    assert refused == "refused"
    assert len(page.asked) == before
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()


def test_the_page_is_as_wide_as_the_screen(page: Browser) -> None:
    width = page.run("visualViewport.width")
    assert page.run("window.scrollTo(50, 0), window.scrollX") == 0
    assert page.run("document.querySelector('#reference').getBoundingClientRect().width") <= width


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", f"/docs/{RENDERER}"])
def test_the_files_are_for_everybody(scripted: Service, path: str) -> None:
    assert scripted.request("GET", path, key=None).status == 200
    assert scripted.request("HEAD", path, key=None).body == b""
    assert scripted.request("POST", path, {}, key=None).status == 405


def test_the_page_names_files_that_exist(scripted: Service) -> None:
    reply = scripted.request("GET", "/docs", key=None)
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    files = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', reply.body.decode())
    assert f"docs/{RENDERER}" in files
    for file in files:
        assert scripted.request("GET", f"/{file}", key=None).status == 200


def test_the_policy_allows_nothing_from_elsewhere(scripted: Service) -> None:
    policy = scripted.request("GET", "/docs", key=None).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert {source for rule in rules.values() for source in rule.split()} == {
        "'none'",
        "'self'",
        "'unsafe-inline'",
        "data:",
    }


@pytest.mark.parametrize("accepted", ["gzip", "br, GZIP;q=0.5", "*"])
def test_the_renderer_is_sent_compressed_to_who_can_take_it(scripted: Service, accepted: str) -> None:
    reply = scripted.request("GET", f"/docs/{RENDERER}", headers={"Accept-Encoding": accepted})
    assert reply.headers["content-encoding"] == "gzip"
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.body == (STATIC / f"{RENDERER}.gz").read_bytes()


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0", "br", "gzip; q=0.000, br"])
def test_the_renderer_is_unpacked_for_who_cannot(scripted: Service, accepted: str) -> None:
    reply = scripted.request("GET", f"/docs/{RENDERER}", headers={"Accept-Encoding": accepted})
    assert "content-encoding" not in reply.headers
    assert reply.headers["vary"] == "accept-encoding"
    assert reply.body == gzip.decompress((STATIC / f"{RENDERER}.gz").read_bytes())
