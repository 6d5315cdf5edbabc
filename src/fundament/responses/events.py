"""Events of a response as bytes of a stream, and the padding that hides how long their deltas are.

It knows the frame (`event:` and `data:` lines, as OpenAI's API sends them) and nothing of what an event means.
"""

import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_PADDED_LENGTH = 16


def sse(event: Mapping[str, Any]) -> bytes:
    """The event as one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event))


def event_of(data: bytes) -> dict[str, Any]:
    """The event that `sse` made `data` of."""
    return _decode(data.partition(b"\ndata: ")[2])


def padded(data: bytes) -> bytes:
    """What `sse` made, with its event `obfuscated`."""
    name = data.partition(b"\n")[0]
    return sse(obfuscated(event_of(data))) if name.endswith(b".delta") else data


def obfuscated(event: dict[str, Any]) -> dict[str, Any]:
    """A delta with random characters in `obfuscation`, so that the two together are a multiple of 16 long.

    Other events are given back as they are. The measure is OpenAI's own: who sees the sizes of encrypted packets could
    otherwise guess the words (`ResponseStreamOptions.include_obfuscation` of its document).
    """
    if not event["type"].endswith(".delta") or not isinstance(event.get("delta"), str):
        return event
    missing = -len(event["delta"]) % _PADDED_LENGTH
    return {**event, "obfuscation": secrets.token_urlsafe(_PADDED_LENGTH)[:missing]}
