"""State as rows: how records become rows and back, and the statements that write many of them.

It knows the tables; when something is written, and within which transaction, is known by `state.py`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    RowMapping,
    String,
    UpdateBase,
    and_,
    bindparam,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from fundament.gateway.state import Events, Json, StoredResponse
from fundament.storage.tables import conversation_items, conversations, responses

Row = dict[str, Any]


class Change(Struct):
    """What one call wants written: items into `owner`'s conversation, events of its runner's."""

    owner: str = ""
    conversation_id: str | None = None
    response: Row | None = None
    items: list[Row] = []
    events: list[Row] = []
    is_late: bool = False


def as_text(id: str) -> str:
    """PostgreSQL's text holds no NUL, and clients may send one in an id. No id of ours has one."""
    return id.replace("\0", "\ufffd")


def owned(owner: str, conversation_id: str) -> ColumnElement[bool]:
    return and_(conversations.c.id == as_text(conversation_id), conversations.c.owner == as_text(owner))


def item_rows(items: Sequence[Json]) -> list[Row]:
    return [{"its_id": as_text(item["id"]), "json": msgspec.json.encode(item)} for item in items]


def event_rows(response_id: str, runner: str, events: Events) -> list[Row]:
    of = {"of": as_text(response_id), "by": runner}
    return [{**of, "number": number, "sent": event} for number, event in events]


def response_row(stored: StoredResponse) -> Row:
    return {
        "id": as_text(stored.id),
        "owner": as_text(stored.owner),
        "created_at": stored.created_at,
        "response": msgspec.json.encode(stored.response),
        "input": msgspec.json.encode(stored.input),
        "previous_response_id": stored.previous_response_id and as_text(stored.previous_response_id),
        "conversation_id": stored.conversation_id and as_text(stored.conversation_id),
        "runner": stored.runner,
    }


def stored_of(row: RowMapping) -> StoredResponse:
    return StoredResponse(
        id=row["id"],
        owner=row["owner"],
        created_at=row["created_at"],
        response=msgspec.json.decode(row["response"]),
        input=msgspec.json.decode(row["input"]),
        previous_response_id=row["previous_response_id"],
        conversation_id=row["conversation_id"],
        runner=row["runner"],
    )


def saving(save: postgresql.Insert | sqlite.Insert) -> UpdateBase:
    fixed = {"id", "owner", "created_at"}
    return save.on_conflict_do_update(
        index_elements=[responses.c.id],
        set_={column.name: save.excluded[column.name] for column in responses.c if column.name not in fixed},
        where=responses.c.owner == save.excluded.owner,
    )


def keeping(keep: postgresql.Insert | sqlite.Insert) -> UpdateBase:
    """Keeps events of a response that is `by`'s, its runner's.

    The lock holds off a deletion, and who takes the response over, until the transaction's end: no event stays without
    its response, and none comes after its end.
    """
    kept = select(responses.c.id, bindparam("number", type_=BigInteger), bindparam("sent", type_=LargeBinary))
    its = and_(responses.c.id == bindparam("of"), responses.c.runner == bindparam("by"))
    columns = ["response_id", "sequence_number", "event"]
    return keep.from_select(columns, kept.where(its).with_for_update(read=True)).on_conflict_do_nothing()


async def append(connection: AsyncConnection, change: Change) -> None:
    for statement, rows in appending([change]):
        await connection.execute(statement, rows)


def appending(changes: Sequence[Change]) -> list[tuple[UpdateBase, list[Row]]]:
    """Appends items to conversations in two statements, however many there are; those that exist for their owner."""
    places: dict[tuple[str, str], list[Row]] = {}
    for change in changes:
        if change.conversation_id is not None and change.items:
            places.setdefault((change.conversation_id, change.owner), []).extend(change.items)
    if not places:
        return []
    # The first statement locks the conversations and reserves positions at their ends; the second fills these.
    reserved = [{"within": id, "of": owner, "count": len(items)} for (id, owner), items in sorted(places.items())]
    filled = [
        {"within": id, "of": owner, "back": len(items) - index, **item}
        for (id, owner), items in places.items()
        for index, item in enumerate(items)
    ]
    return [(_RESERVE, reserved), (_FILL, filled)]


_THEIRS = and_(conversations.c.id == bindparam("within"), conversations.c.owner == bindparam("of"))
_LENGTH = conversations.c.next_position
_RESERVE = update(conversations).where(_THEIRS).values(next_position=_LENGTH + bindparam("count"))
_ITEM = select(
    conversations.c.id,
    _LENGTH - bindparam("back", type_=BigInteger),
    bindparam("its_id", type_=String),
    bindparam("json", type_=LargeBinary),
)
_FILL = insert(conversation_items).from_select(["conversation_id", "position", "item_id", "item"], _ITEM.where(_THEIRS))
