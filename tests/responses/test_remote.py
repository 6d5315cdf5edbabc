"""MCP servers over real sockets: what they have, what they answer, and each way in which they can fail us."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fundament.errors import InvalidRequest, RemoteServerFailure, RequestError
from fundament.protocol.responses_tools import McpTool
from fundament.responses.remote import LIST_BYTES, LISTED_TOOLS, RESULT_BYTES, RemoteServers
from fundament.responses.remote_functions import RemoteResult
from responses.mcp_servers import Serving, answering, certificate_for, toolbox
from specification import assert_valid

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


class Asked(RemoteServers):
    """One server, labelled `s`, which may be private."""

    def __init__(self, url: str, *, allow_private: bool = True, **fields: Any) -> None:
        tool = McpTool(server_label="s", server_url=url, **fields)
        super().__init__([tool], allow_private=allow_private, list_timeout_s=2.0, call_timeout_s=0.5)


@pytest.fixture
async def toolbox_server(server: Serving) -> AsyncIterator[Asked]:
    asked = Asked(server.url)
    yield asked
    await asked.close()


async def failure_of(url: str, **options: Any) -> RequestError:
    asked = Asked(url, **options)
    with pytest.raises(RequestError) as caught:
        await asked.list_tools("s")
    await asked.close()
    return caught.value


async def called(asked: RemoteServers, name: str, **arguments: Any) -> RemoteResult:
    result = await asked.call("s", name, json.dumps(arguments))
    if result.error is not None:
        assert_valid("MCPToolCallError", result.error)
    return result


async def test_a_server_tells_its_tools(toolbox_server: Asked) -> None:
    tools = await toolbox_server.list_tools("s")
    assert [tool["name"] for tool in tools] == ["add", "fail", "sleep", "repeat", "draw"]
    assert tools[0]["description"] == "Adds two numbers."
    assert tools[0]["annotations"] == {"readOnlyHint": True}
    assert tools[0]["input_schema"]["required"] == ["a", "b"]
    assert_valid("MCPListTools", {"type": "mcp_list_tools", "id": "l", "server_label": "s", "tools": tools})


@pytest.mark.parametrize("kind", ["stateful", "json", "stateless", "sse"])
async def test_servers_of_all_kinds_answer_calls_with_and_without_a_list_before(kind: str) -> None:
    options = {"json": {"json_response": True}, "stateless": {"stateless_http": True}}.get(kind, {})
    app = toolbox().sse_app() if kind == "sse" else toolbox().streamable_http_app(**options)
    with Serving(app, path="/sse" if kind == "sse" else "/mcp") as serving:
        asked = Asked(serving.url)
        assert (await called(asked, "add", a=1, b=2)).output == "3"
        assert len(await asked.list_tools("s")) == 5
        assert (await called(asked, "add", a=2, b=2)).output == "4"
        assert (await called(asked, "draw")).output == "[image image/png]"
        await asked.close()


async def test_a_tool_that_fails_is_a_result_with_its_words(toolbox_server: Asked) -> None:
    result = await called(toolbox_server, "fail")
    assert result.output is None
    assert result.error is not None
    assert result.error["type"] == "mcp_tool_execution_error"
    assert "fail" in result.error["content"][0]["text"]


@pytest.mark.parametrize("arguments", ["[1]", "{", "1", "nonsense"])
async def test_arguments_that_are_no_object_do_not_reach_the_server(toolbox_server: Asked, arguments: str) -> None:
    result = await toolbox_server.call("s", "add", arguments)
    assert result.error == {
        "type": "mcp_protocol_error",
        "code": -32602,
        "message": "the arguments are no JSON object",
    }


async def test_no_arguments_are_an_empty_object(toolbox_server: Asked) -> None:
    assert (await toolbox_server.call("s", "draw", "")).error is None


async def test_a_slow_tool_is_given_up_and_the_next_call_works(toolbox_server: Asked) -> None:
    begun = time.monotonic()
    result = await called(toolbox_server, "sleep", seconds=30)
    assert time.monotonic() - begun < 5
    assert result.error == {"type": "http_error", "code": 504, "message": "it did not answer in time"}
    assert (await called(toolbox_server, "add", a=1, b=2)).output == "3"


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_huge_result_is_not_read_to_its_end(as_json: bool) -> None:
    with Serving(toolbox().streamable_http_app(json_response=as_json)) as serving:
        asked = Asked(serving.url)
        fits = await called(asked, "repeat", text="x", times=RESULT_BYTES // 4)
        assert len(fits.output or "") == RESULT_BYTES // 4
        result = await called(asked, "repeat", text="x", times=3 * RESULT_BYTES)
        assert result.error == {"type": "http_error", "code": 502, "message": "it sent more than this service takes"}
        assert (await called(asked, "add", a=1, b=2)).output == "3"
        await asked.close()


async def test_a_server_with_too_many_tools_is_refused() -> None:
    with Serving(toolbox(LISTED_TOOLS).streamable_http_app()) as serving:
        failure = await failure_of(serving.url)
    assert f"more than {LISTED_TOOLS} tools" in failure.message


@pytest.mark.parametrize("length", [LIST_BYTES, 2 * RESULT_BYTES])
async def test_a_server_with_too_long_descriptions_is_refused(length: int) -> None:
    toolset = toolbox()
    toolset.add_tool(lambda: "x", name="long", description="x" * length)
    with Serving(toolset.streamable_http_app()) as serving:
        assert isinstance(await failure_of(serving.url), RemoteServerFailure)


async def test_a_server_that_dies_is_a_failure_of_the_call_and_of_the_list() -> None:
    serving = Serving(toolbox().streamable_http_app())
    serving.__enter__()
    asked = Asked(serving.url)
    assert (await called(asked, "add", a=1, b=2)).output == "3"
    call = asyncio.create_task(called(asked, "sleep", seconds=30))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(serving.stop)
    error = (await call).error
    assert error is not None
    assert error["type"] == "http_error"
    again = (await called(asked, "add", a=1, b=2)).error
    assert again == {"type": "http_error", "code": 502, "message": "it cannot be connected to"}
    with pytest.raises(RemoteServerFailure, match="cannot be connected to"):
        await asked.list_tools("s")
    await asked.close()


async def test_a_server_that_is_silent_is_given_up() -> None:
    async def silent(*_: object) -> None:
        await asyncio.sleep(30)

    with Serving(silent) as serving:
        begun = time.monotonic()
        failure = await failure_of(serving.url)
        assert time.monotonic() - begun < 6
    assert failure.message == "Error retrieving tool list from MCP server: 's': it did not answer in 2 seconds."


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        (answering(401), "it answered 401 (Unauthorized)"),
        (answering(401, JSON, b'{"error": "invalid_token"}'), "it answered 401 (Unauthorized)"),
        (answering(404), "it answered 404 (Not Found)"),
        (answering(500), "it answered 500 (Internal Server Error)"),
        (answering(200, {"content-type": "text/html"}, b"hi"), "Unexpected content type: text/html"),
        (answering(200, JSON, b'{"secret": '), "it answered with something that is not MCP"),
        (answering(200, EVENTS, b"data: secret\n\n"), "it answered with something that is not MCP"),
        (answering(200, JSON, b"x" * 3 * RESULT_BYTES), "it sent more than this service takes"),
        (answering(200, EVENTS, b": x\n\n" * RESULT_BYTES), "it sent more than this service takes"),
        (answering(200, {**JSON, "content-encoding": "gzip"}), "it compressed its answer"),
        (answering(200, {**JSON, "content-length": "9"}, b"{"), "peer closed connection"),
        (answering(200, {**EVENTS, "content-length": "9"}, b":"), "peer closed connection"),
        (answering(307, {"location": "http://169.254.169.254/latest"}), "not followed"),
        (answering(302, {"location": "http://10.0.0.1/"}), "not followed"),
    ],
)
async def test_a_server_that_does_not_speak_mcp_gives_no_tools_and_no_results(
    app: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Serving(app) as serving:
        failure = await failure_of(serving.url)
        assert isinstance(failure, RemoteServerFailure)
        assert reason in failure.message
        asked = Asked(serving.url)
        result = await called(asked, "add")
        assert reason in (result.error or {})["message"]
        await asked.close()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "127.1"])
async def test_a_server_that_runs_at_a_private_address_is_not_reached(server: Serving, host: str) -> None:
    seen = len(server.seen)
    url = server.url.replace("127.0.0.1", host)
    refused = await failure_of(url, allow_private=False)
    asked = Asked(url, allow_private=False)
    with pytest.raises(InvalidRequest):
        await asked.call("s", "add", "{}")
    await asked.close()
    assert (refused.status, refused.param) == (400, "tools[0].server_url")
    assert len(server.seen) == seen


@pytest.mark.parametrize(
    "url", ["http://10.1.2.3/", "https://10.1.2.3/", "http://169.254.169.254/latest/meta-data", "https://[::1]/"]
)
async def test_private_addresses_are_refused_before_anything_is_sent(url: str) -> None:
    begun = time.monotonic()
    assert isinstance(await failure_of(url, allow_private=False), InvalidRequest)
    assert time.monotonic() - begun < 1.5  # a try to connect would run into the time limit


async def test_a_name_that_becomes_private_after_it_was_looked_up_is_refused(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is public and nobody listens there, the second is ours: as who rebinds a name does it."""
    loop = asyncio.get_running_loop()
    resolve, answers = loop.getaddrinfo, ["192.88.99.1"]

    async def rebind(host: str, port: int, **options: Any) -> Any:
        return await resolve(answers.pop() if answers else "127.0.0.1", port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", rebind)
    url = server.url.replace("127.0.0.1", "rebinding.example")
    seen = len(server.seen)
    await failure_of(url, allow_private=False)
    assert isinstance(await failure_of(url, allow_private=False), InvalidRequest)
    assert len(server.seen) == seen


async def test_a_redirect_on_the_same_server_is_followed_and_checked_again(
    server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def counted(host: str, port: int, **options: Any) -> Any:
        checks.append(host)
        return await resolve(host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", counted)
    seen = len(server.seen)
    asked = Asked(server.url + "/")  # Starlette redirects to the path without a slash
    assert len(await asked.list_tools("s")) == 5
    await asked.close()
    assert len(checks) == len(server.seen) - seen


async def test_credentials_reach_the_server_and_nothing_else(
    server: Serving, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        asked = Asked(server.url, authorization="t0psecret", headers={"X-Key": "s3cret"})
        await asked.list_tools("s")
        results = [await called(asked, "fail"), await called(asked, "sleep", seconds=9)]
        await asked.close()
    assert server.seen[-1]["authorization"] == "Bearer t0psecret"
    assert server.seen[-1]["x-key"] == "s3cret"
    assert server.seen[-1]["host"] == f"127.0.0.1:{server.port}"
    told = f"{logs}{caplog.text}{capfd.readouterr()}{results}"
    assert "t0psecret" not in told
    assert "s3cret" not in told


async def test_certificates_are_held_to_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = certificate_for("localhost", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with Serving(toolbox().streamable_http_app(), ssl_certfile=certificate, ssl_keyfile=key) as serving:
        url = serving.url.replace("http://", "https://")
        asked = Asked(url.replace("127.0.0.1", "localhost"))
        assert (await called(asked, "add", a=1, b=2)).output == "3"
        await asked.close()
        assert "cannot be connected to" in (await failure_of(url)).message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"connector_id": "connector_gmail", "server_url": None}, "tools[0].connector_id"),
        ({"server_url": None}, "tools[0].server_url"),
        ({"server_url": "ftp://x"}, "tools[0].server_url"),
        ({"headers": {"Host": "other"}}, "tools[0].headers"),
        ({"headers": {"Accept-Encoding": "gzip"}}, "tools[0].headers"),
        ({"headers": {"X": "secret\r\nY: 1"}}, "tools[0].headers"),
        ({"headers": {"X": "sécret"}}, "tools[0].headers"),
        ({"headers": {"a b": "secret"}}, "tools[0].headers"),
        ({"authorization": "secret\n"}, "tools[0].authorization"),
        ({"authorization": "secret", "headers": {"AUTHORIZATION": "secret"}}, "tools[0].authorization"),
    ],
)
def test_a_server_that_cannot_be_asked_is_refused_by_field(fields: dict[str, Any], param: str) -> None:
    tool = McpTool(**{"server_label": "s", "server_url": "https://x", **fields})
    with pytest.raises(InvalidRequest) as caught:
        RemoteServers([tool], allow_private=True)
    assert caught.value.param == param
    assert "secret" not in caught.value.message


def test_two_servers_of_one_label_are_refused() -> None:
    tool = McpTool(server_label="s", server_url="https://x")
    with pytest.raises(InvalidRequest) as caught:
        RemoteServers([tool, tool], allow_private=True)
    assert caught.value.param == "tools[1].server_label"


async def test_closing_leaves_no_task_behind(server: Serving) -> None:
    before = asyncio.all_tasks()
    asked = Asked(server.url)
    await asked.list_tools("s")
    call = asyncio.create_task(asked.call("s", "sleep", '{"seconds": 30}'))
    await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.wait({call})
    await asked.close()
    assert asyncio.all_tasks() == before


def test_the_package_is_loaded_only_when_a_server_is_asked() -> None:
    code = "import sys, fundament.responses.turns; print('mcp' in sys.modules or 'pydantic' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
