"""What is kept of each change that an operator makes: when, who, what. Never a key, a digest or a name.

It knows entries; where they are kept is `storage/audit.py`'s knowledge. Names are looked up when entries are shown, so
that none is left when a contract is erased.
"""

from typing import Any, Literal

from msgspec import Struct

Action = Literal[
    "contract.create",
    "contract.change",
    "contract.close",
    "contract.erase",
    "contract.erased",
    "key.create",
    "key.rotate",
    "key.revoke",
]

SERVICE = "service"
"""The actor of what the service does by itself."""


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change.

    `time` is in Unix seconds. `object_name` is what the contract or key is called now, None for one that is gone.
    `changes` has a new value by name, or the old one and the new one as a pair.
    """

    id: int
    time: int
    actor: str
    action: Action
    object_id: str
    object_name: str | None
    changes: dict[str, Any]
