"""API keys: what they look like, how one is recognised, and how the keys in memory stay current.

It knows that only the SHA-256 of a key is ever kept, and how fresh an answer must be. It does not know where keys are
stored: it asks a `KeySource`. It knows nothing of HTTP either: who presents a key, and what a stranger is told.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol, get_args

import msgspec
import structlog
from structlog.typing import FilteringBoundLogger

from fundament.errors import InvalidChange, Unavailable
from fundament.gateway.contracts import Contract
from fundament.gateway.names import check_name
from fundament.settings import ModelConfig

PREFIX = "sk-fundament-"
_SECRET_BYTES = 32  # token_urlsafe makes 43 characters of them
_KEY = re.compile(re.escape(PREFIX) + r"[A-Za-z0-9_-]{43}")

Scope = Literal["inference", "usage"]
"""What a key is good for: to use models and what they made, or to read what its contract used."""

POLL_INTERVAL_S = 0.25
"""Between two looks at the source's version: a revocation is in force after this and one query, well within 1 s."""

REFRESH_SPACING_S = 0.05
"""Between the starts of two refreshes: strangers with wrong keys cause at most 20 queries a second and worker."""

REFRESH_TIMEOUT_S = 5.0
"""A source that takes longer counts as down; without this, one lost packet would stop every later refresh."""

_SCOPES: tuple[Scope, ...] = get_args(Scope)


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key; never the key itself.

    `digest` is the key's SHA-256 (32 bytes), `hint` its first 16 and last 4 characters, for people who compare it with
    a key that they hold. `models` are ids of the catalogue, None means all that the contract's plan has. `replaced_by`
    is the id of the key that a rotation put in its place. Times are Unix seconds; `revoked_at` is None while the key is
    active, `last_used_at` may be a minute late.
    """

    id: str
    name: str
    contract: Contract
    digest: bytes
    hint: str
    scopes: tuple[Scope, ...] = ("inference",)
    models: tuple[str, ...] | None = None
    created_at: int
    expires_at: int | None = None
    last_used_at: int | None = None
    replaced_by: str | None = None
    revoked_at: int | None = None


def new_key(
    name: str,
    contract: Contract,
    *,
    scopes: tuple[Scope, ...] = ("inference",),
    models: tuple[str, ...] | None = None,
    expires_at: int | None = None,
) -> tuple[KeyRecord, str]:
    """Invent a key: its record, and the key itself, which exists nowhere else.

    Raises:
        InvalidChange: the name is empty, too long, not printable, padded with spaces, or looks like an id or a key; or
            the key would be expired from the start.
    """
    check_name(name, of="key", unlike=("key_", "sk-"))
    now = int(time.time())
    if expires_at is not None and expires_at <= now:
        raise InvalidChange("A key must expire in the future.")
    plaintext = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
    record = KeyRecord(
        id="key_" + secrets.token_hex(12),
        name=name,
        contract=contract,
        digest=digest_of(plaintext),
        hint=f"{plaintext[:16]}…{plaintext[-4:]}",
        scopes=scopes,
        models=models,
        created_at=now,
        expires_at=expires_at,
    )
    return record, plaintext


def scopes_of(names: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes with these names, each once; raises InvalidChange for another, and for none at all."""
    asked = set(names)
    wanted: tuple[Scope, ...] = tuple(scope for scope in _SCOPES if scope in asked)
    unknown = sorted(asked - {*_SCOPES})
    if unknown or not wanted:
        raise InvalidChange(f"No scope is named '{', '.join(unknown)}'. There are: {', '.join(_SCOPES)}.")
    return wanted


def model_ids_of(names: Iterable[str], models: Iterable[ModelConfig]) -> tuple[str, ...]:
    """The ids of the models with these ids or aliases, each once; raises InvalidChange for another."""
    ids = {name: model.id for model in models for name in (model.id, *model.aliases)}
    for name in names:
        if name not in ids:
            raise InvalidChange(f"No model has the id or the alias '{name}'. There are: {', '.join(sorted(ids))}.")
    return tuple(dict.fromkeys(ids[name] for name in names))


def digest_of(plaintext: str) -> bytes:
    """The 32 bytes that stand for a key. Takes any string, lone surrogates included.

    A fast hash is right here: a key is 256 random bits, so there is no dictionary to slow down.
    """
    return hashlib.sha256(plaintext.encode("utf-8", "surrogatepass")).digest()


class KeyRing:
    """The active keys, in memory."""

    def __init__(self, records: Iterable[KeyRecord] = ()) -> None:
        self._active: dict[bytes, KeyRecord] = {}
        self.replace(records)

    def __len__(self) -> int:
        return len(self._active)

    def find(self, plaintext: str) -> KeyRecord | None:
        # A dict lookup does not compare in constant time, and need not: what it compares is a SHA-256, and nobody can
        # steer a digest towards a stored one byte by byte without breaking the hash.
        return self._active.get(digest_of(plaintext))

    def replace(self, records: Iterable[KeyRecord]) -> None:
        """Hold the active ones of these, and no others. A concurrent `find` sees the old ring or the new one."""
        self._active = {record.digest: record for record in records if record.revoked_at is None}


class KeySource(Protocol):
    """Where the keys live. Both methods raise `fundament.errors.Unavailable` when it does not answer."""

    async def version(self) -> int:
        """A number that differs after every change of keys or contracts; cheap to ask."""
        ...

    async def load(self) -> tuple[int, Sequence[KeyRecord]]:
        """The active keys with their contracts, and the version that they belong to."""
        ...


class KeyRefresher:
    """Keeps a `KeyRing` equal to its source, and finds keys that are newer than the ring.

    While the source is down, the ring serves what it holds; one log line says that it began, one that it ended.
    """

    def __init__(self, ring: KeyRing, source: KeySource) -> None:
        self._ring = ring
        self._source = source
        self._version: int | None = None
        self._waiting: asyncio.Task[None] | None = None  # a refresh that has not started: latecomers may join it
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself holds tasks only weakly
        self._turn = asyncio.Lock()
        self._started_at = -REFRESH_SPACING_S
        self._outage: Unavailable | None = None
        self._log: FilteringBoundLogger = structlog.get_logger(__name__)

    async def run(self) -> None:
        """Follow the source until cancelled. Survives its outages."""
        try:
            while True:
                await asyncio.sleep(POLL_INTERVAL_S)
                await self._refreshed()
        finally:
            for task in self._tasks:
                task.cancel()
            self._waiting = None

    def held(self, plaintext: str) -> KeyRecord | None:
        """The active key's record, if it is in memory."""
        return self._ring.find(plaintext)

    async def find(self, plaintext: str) -> KeyRecord | None:
        """The active key's record. One that is not in memory is looked for in the source, as of now.

        Raises:
            Unavailable: the key is not in memory and the source, which may know it, is down.
        """
        record = self._ring.find(plaintext)
        if record is None and _KEY.fullmatch(plaintext):
            await self.refresh()
            record = self._ring.find(plaintext)
        return record

    async def refresh(self) -> None:
        """Return when a refresh that started after this call is complete. Any number of callers share one.

        Raises:
            Unavailable: the source is down; the ring is as it was.
        """
        await self._refreshed()
        if self._outage is not None:
            raise Unavailable(
                "API keys cannot be checked at the moment. Please retry.", retry_after_s=1
            ) from self._outage

    async def _refreshed(self) -> None:
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._refresh_in_turn())
            self._tasks.add(self._waiting)
            self._waiting.add_done_callback(self._tasks.discard)
        # A caller that gives up must not take the refresh away from those who share it.
        await asyncio.shield(self._waiting)

    async def _refresh_in_turn(self) -> None:
        async with self._turn:
            clock = asyncio.get_running_loop().time
            await asyncio.sleep(max(0.0, self._started_at + REFRESH_SPACING_S - clock()))
            self._started_at = clock()
            self._waiting = None  # from here on, a newcomer's key may be newer than what this refresh sees
            try:
                async with asyncio.timeout(REFRESH_TIMEOUT_S):
                    await self._load_if_changed()
            except Unavailable as error:
                self._begin_outage(error)
            except TimeoutError:
                self._begin_outage(Unavailable(f"no answer within {REFRESH_TIMEOUT_S:g} s"))
            else:
                self._end_outage()

    async def _load_if_changed(self) -> None:
        if self._version is None or await self._source.version() != self._version:
            self._version, records = await self._source.load()
            self._ring.replace(records)

    def _begin_outage(self, error: Unavailable) -> None:
        if self._outage is None:
            self._log.warning("keys_source_down", error=error.message, keys_in_memory=len(self._ring))
        self._outage = error

    def _end_outage(self) -> None:
        if self._outage is not None:
            self._log.info("keys_source_back", keys_in_memory=len(self._ring))
        self._outage = None
