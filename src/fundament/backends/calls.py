"""Reads calls of functions out of a text that comes in pieces, as the grammar of `grammar.py` shapes it.

It knows text in and deltas out; it does no I/O. What it hands out is never taken back: a piece that may still turn out
to be the beginning of a call is held until that is known.
"""

import json
import secrets
from typing import Any

from fundament.backends.grammar import ARGUMENTS_START, CALL_START, NAME_START

_OPENING = CALL_START + NAME_START


class CallReader:
    """One choice's text, as deltas: `content`, or each call's name whole and its arguments in pieces.

    Args:
        legacy: deltas have `function_call`, as the API had before tools, and only the first call counts.
        forced: the text must be calls; what ends before a call's name is no words.
    """

    def __init__(self, *, legacy: bool = False, forced: bool = False) -> None:
        self.calls = 0
        self._legacy = legacy
        self._forced = forced
        self._held = ""
        self._read = self._read_start
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> list[dict[str, Any]]:
        """The deltas that `text` completes."""
        self._held += text
        deltas: list[dict[str, Any]] = []
        while self._held and self._read(deltas):
            pass
        return deltas

    def finish(self) -> list[dict[str, Any]]:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        words = held and not self.calls and not self._forced and not held.startswith(CALL_START)
        return [{"content": held}] if words else []

    def _read_start(self, deltas: list[dict[str, Any]]) -> bool:  # noqa: ARG002 - as its siblings
        """At the beginning, and between calls: a call, or text."""
        if self.calls:
            self._held = self._held.lstrip("\n")
        if len(self._held) < len(_OPENING) and _OPENING.startswith(self._held):
            return False
        if self._held.startswith(_OPENING):
            self._read = self._read_name
            return True
        self._read = self._read_text
        return True

    def _read_text(self, deltas: list[dict[str, Any]]) -> bool:
        deltas.append({"content": self._held})
        self._held = ""
        return False

    def _read_name(self, deltas: list[dict[str, Any]]) -> bool:
        name, found, rest = self._held.removeprefix(_OPENING).partition(ARGUMENTS_START)
        if not found:
            return False
        self.calls += 1
        function = {"name": json.loads(name), "arguments": ""}
        deltas += self._delta({"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function})
        self._held = rest
        self._depth = 0
        self._read = self._read_arguments
        return True

    def _read_arguments(self, deltas: list[dict[str, Any]]) -> bool:
        """Hands out arguments up to the brace that closes them; braces in strings do not count."""
        for position, character in enumerate(self._held):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._add_arguments(deltas, self._held[: position + 1])
                    self._held = self._held[position + 1 :]
                    self._read = self._read_end
                    return True
        self._add_arguments(deltas, self._held)
        self._held = ""
        return False

    def _add_arguments(self, deltas: list[dict[str, Any]], text: str) -> None:
        if text:
            deltas += self._delta({"function": {"arguments": text}})

    def _read_end(self, deltas: list[dict[str, Any]]) -> bool:  # noqa: ARG002 - as its siblings
        _, found, rest = self._held.partition(">")  # of `}</tool_call>`
        if not found:
            return False
        self._held = rest
        self._read = self._read_start
        return True

    def _delta(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        if not self._legacy:
            return [{"tool_calls": [{"index": self.calls - 1, **call}]}]
        return [{"function_call": call["function"]}] if self.calls == 1 else []
