"""TLS where the service listens: who speaks it is served, a renewal reaches new connections, a handshake is bounded."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from websockets.sync.client import connect

from certificate_files import Pair, write_pair
from scripted_answers import DONE, chat_answer, chat_events, sse_answer
from scripted_upstream import ScriptedUpstream
from service import EXECUTABLE, Service, wait_until

Start = Callable[..., Service]


class TlsService(Service):
    """The service with a certificate, whose requests of the tests trust it."""

    pair: Pair

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.pair.certificate)

    def wait_ready(self, timeout_s: float = 60) -> "TlsService":
        assert wait_until(lambda: "is ready" in self.output.read_text(), timeout_s), self.log_text()
        return self

    def shown(self) -> bytes:
        """The certificate that a new connection sees."""
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.port)))


@pytest.fixture
def service(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[TlsService]:
    pair = write_pair(tmp_path)
    config = f"""
        [server]
        tls_certificate = "../tls.crt"
        tls_key = "../tls.key"
        head_timeout_s = 1
        [[models]]
        id = "m"
        [[models.upstreams]]
        base_url = "{upstream.base_url}"
    """
    service = TlsService(tmp_path / "service", config, workers=2, flags=["--quickstart"])
    service.pair = pair
    with service:
        yield service


def test_sdk_stream_and_websocket_work_over_tls_and_plain_http_gets_nothing(
    service: TlsService, upstream: ScriptedUpstream
) -> None:
    assert f"https://127.0.0.1:{service.port}/v2" in service.output.read_text()
    upstream.answer(chat_answer("Hello"), sse_answer([*chat_events(["Hello", " you"]), DONE]))
    base_url = f"https://127.0.0.1:{service.port}/v2"
    messages: Any = [{"role": "user", "content": "x"}]
    with openai.DefaultHttpxClient(verify=service.trusting()) as http_client:
        client = openai.OpenAI(base_url=base_url, api_key=service.key, http_client=http_client, max_retries=0)
        answer = client.chat.completions.create(model="m", messages=messages)
        assert answer.choices[0].message.content == "Hello"
        chunks = list(client.chat.completions.create(model="m", messages=messages, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello you"
    address = f"wss://127.0.0.1:{service.port}/v2/responses"
    headers = {"Authorization": f"Bearer {service.key}"}
    with connect(address, ssl=service.trusting(), additional_headers=headers) as peer:
        peer.send("{}")
        assert json.loads(peer.recv(timeout=5))["type"] == "error"
    with pytest.raises((http.client.HTTPException, OSError)):
        service.request("GET", "/health/live", key=None)


def test_a_renewed_certificate_is_shown_to_new_connections_and_ends_no_old_one(service: TlsService) -> None:
    old = service.pair.der
    assert service.shown() == old
    context = service.trusting()
    kept = http.client.HTTPSConnection("127.0.0.1", service.port, context=context, timeout=10)
    kept.request("GET", "/health/live")
    assert kept.getresponse().read()
    new = write_pair(service.pair.certificate.parent, kind="rsa")
    # Both workers, and also to clients that would take the old kind.
    assert wait_until(lambda: {service.shown() for _ in range(8)} == {new.der}, timeout_s=2, every_s=0.2)
    kept.request("GET", "/health/live")
    assert kept.getresponse().status == 200
    kept.close()


def test_half_a_renewal_changes_nothing_until_the_other_half_is_there(service: TlsService) -> None:
    key = service.pair.key.read_bytes()
    new = write_pair(service.pair.certificate.parent)
    new_key = service.pair.key.read_bytes()
    service.pair.key.write_bytes(key)
    assert wait_until(lambda: "certificate_not_loaded" in service.log_text(), timeout_s=5)
    assert service.shown() == service.pair.der
    service.pair.key.write_bytes(new_key)
    assert wait_until(lambda: {service.shown() for _ in range(8)} == {new.der}, timeout_s=5, every_s=0.2)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_a_client_that_knows_only_an_older_tls_than_1_2_is_refused(service: TlsService) -> None:
    context = service.trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side would refuse
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_a_handshake_that_is_late_closes_the_connection(service: TlsService) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as silent:
        started_at = time.monotonic()
        silent.sendall(b"\x16\x03\x01")  # how a handshake begins
        with contextlib.suppress(ConnectionError):
            assert silent.recv(100) == b""
        assert 0.5 < time.monotonic() - started_at < 5


@pytest.mark.parametrize("fault", ["no file", "another's key", "no PEM", "a password"])
def test_a_certificate_that_cannot_be_used_stops_the_start(tmp_path: Path, fault: str) -> None:
    pair = write_pair(tmp_path, password=b"secret" if fault == "a password" else None)
    if fault == "no file":
        pair.certificate.unlink()
    elif fault == "another's key":
        key = pair.key.read_bytes()
        write_pair(tmp_path)
        pair.key.write_bytes(key)
    elif fault == "no PEM":
        pair.key.write_text("no key")
    config = tmp_path / "fundament.toml"
    config.write_text(
        'server.tls_certificate = "tls.crt"\nserver.tls_key = "tls.key"\n[[models]]\nid = "m"\n'
        '[[models.upstreams]]\nbase_url = "http://127.0.0.1:9/v1"\n'
    )
    done = subprocess.run(
        [EXECUTABLE, "serve", "--config", config, "--data-dir", tmp_path / "data", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("fundament: server.tls_")
