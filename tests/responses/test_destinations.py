"""Where requests may go: no spelling of a private address gets through, and no name that means one."""

import asyncio
import socket
from typing import Any

import pytest

from fundament.errors import InvalidRequest
from fundament.responses.destinations import addresses_of, check_url, is_public


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),  # noqa: S104
        *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fe80::1%1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1", "::127.0.0.1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::10.0.0.1", "2001::1", "64:ff9b:1::1"),
    ],
)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "::1", "::ffff:7f00:1"],
)
async def test_a_host_that_is_private_in_any_spelling_is_refused(host: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await addresses_of(host, 80, allow_private=False, param="p")
    assert caught.value.param == "p"
    assert await addresses_of(host, 80, allow_private=True, param="p")


async def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, 0, 0, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(InvalidRequest):
        await addresses_of("rebinding.example", 80, allow_private=False, param="p")
    assert await addresses_of("rebinding.example", 80, allow_private=True, param="p") == ["8.8.8.8", "10.0.0.1"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".com", "a..b"])
async def test_a_host_that_is_none_has_no_address(host: str) -> None:
    with pytest.raises(OSError):
        await addresses_of(host, 80, allow_private=False, param="p")


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "//x/y", "file:///etc/passwd", "ftp://x", "gopher://x", "unix:/run/x", "http://", "http:///x"),
        *("https://user:secret@x", "https://user@x", "http://x:port", "http://[::1", "http://exämple.com"),
    ],
)
def test_a_url_that_cannot_be_asked_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_url(url, "tools[0].server_url")
    assert caught.value.param == "tools[0].server_url"
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "url", ["https://x.example/mcp?key=1", "http://127.0.0.1:8000/", "HTTPS://X", "http://[::1]:8/"]
)
def test_other_urls_pass(url: str) -> None:
    check_url(url, "p")
