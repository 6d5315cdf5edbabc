"""Where a request that a client asked for may go: to public addresses, unless the operator allows others.

It knows URLs, names and addresses, and nothing of what is sent there. Whoever connects must connect to the very
addresses that `addresses_of` gave: a name may mean something else a moment later.
"""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from fundament.errors import InvalidRequest

_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out for hosts on the Internet
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


def check_url(url: str, param: str) -> None:
    """Holds a URL to what can be judged without resolving it.

    Raises:
        InvalidRequest: it is none of http and https, has no host, or has credentials in it, which would be shown.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or not url.isascii():
        raise _refused("expected a URL that begins with 'https://' or 'http://'.", param)
    if "@" in parts.netloc:
        raise _refused("credentials belong in 'authorization' or 'headers'.", param)


async def addresses_of(host: str, port: int, *, allow_private: bool, param: str) -> list[str]:
    """The addresses that may be connected to instead of `host`, which is a name or an address in any spelling.

    Raises:
        InvalidRequest: one of its addresses is not public, and `allow_private` is false.
        OSError: it has no address.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"no host has the name {host}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise _refused("this service connects to public addresses only.", param)
    return addresses


def is_public(address: str) -> bool:
    """Whether the address is one of the Internet's, by IANA's registries of special addresses.

    An IPv6 address that stands for an IPv4 address (mapped, 6to4, NAT64) is what that one is.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        embedded = parsed.ipv4_mapped or parsed.sixtofour
        if parsed in _NAT64:
            embedded = IPv4Address(parsed.packed[-4:])
        if embedded is None:
            return parsed.is_global and parsed in _GLOBAL_UNICAST
        parsed = embedded
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _refused(reason: str, param: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {reason}", param=param, code="invalid_value")
