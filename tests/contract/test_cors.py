"""Which web pages may talk to the service: none at first, those that are named, and those may read errors, too."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripted_upstream import ScriptedUpstream
from service import Service

PAGE = "https://app.example"
PREFLIGHT: Mapping[str, str] = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}
ALLOW = "access-control-allow-origin"


@pytest.fixture(scope="module")
def open_to_a_page(tmp_path_factory: pytest.TempPathFactory, running_upstream: ScriptedUpstream) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("cors")
    config = f"""
        [[models]]
        id = "m"
        [[models.upstreams]]
        base_url = "{running_upstream.base_url}"
    """
    with Service(directory, config, environment={"FUNDAMENT_SERVER_CORS_ORIGINS": f"{PAGE}, http://other"}) as service:
        yield service


def test_without_a_setting_no_page_is_let_in(scripted: Service) -> None:
    asked = scripted.request("OPTIONS", "/v2/chat/completions", key=None, headers=PREFLIGHT)
    assert asked.status == 405
    answer = scripted.request("GET", "/v2/models", headers={"Origin": PAGE})
    assert answer.status == 200
    assert not [name for name in {**asked.headers, **answer.headers} if name.startswith("access-control-")]


def test_a_page_that_is_named_may_ask_without_a_key_whether_it_may_ask(open_to_a_page: Service) -> None:
    reply = open_to_a_page.request("OPTIONS", "/v2/chat/completions", key=None, headers=PREFLIGHT)
    assert (reply.status, reply.headers[ALLOW]) == (200, PAGE)
    assert "x-stainless-lang" in reply.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in reply.headers


def test_a_page_that_is_named_can_read_answers_and_errors(open_to_a_page: Service) -> None:
    for key, status in (("its own", 200), ("sk-wrong", 401)):
        reply = open_to_a_page.request("GET", "/v2/models", key=key, headers={"Origin": PAGE})
        assert (reply.status, reply.headers[ALLOW]) == (status, PAGE)
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


def test_a_page_that_is_not_named_is_not_let_in(open_to_a_page: Service) -> None:
    asked = open_to_a_page.request(
        "OPTIONS", "/v2/chat/completions", key=None, headers=PREFLIGHT | {"Origin": "https://evil.example"}
    )
    assert asked.status == 400
    assert ALLOW not in asked.headers
    for origin in ("https://evil.example", "https://app.example.evil", "null", "http://app.example"):
        assert ALLOW not in open_to_a_page.request("GET", "/v2/models", headers={"Origin": origin}).headers
