"""Patterns of JSON Schemas, read as ECMA-262 reads them and written as llguidance must have them.

It knows both dialects, and where llguidance 1.0 makes wrong texts of characters that JSON escapes: a class with all
control characters takes an escaped `"` and backslash that are not in it, and what follows such a character is lost if
it stands alone. It knows no schema.
"""

import re

_STRUCTURE = re.compile(
    r"""\((?: \?(?: : | P?<[A-Za-z_][A-Za-z0-9_]*> ) )?(?!\?) | [)|] | [\^$](?![*+?]|\{\d)
    | (?: [*+?] | \{\d+(?:,\d*)?\} )\??(?![*+?]|\{,?\d)""",
    re.VERBOSE,
)
_RAW = re.compile(r"[^\\*+?()\[{^$|.] | \{(?!,?\d)", re.VERBOSE | re.DOTALL)
_RAW_IN_CLASS = re.compile(r"[^\\\]]", re.DOTALL)
_ESCAPE = re.compile(
    r"""\\(?: u(?P<high>[Dd][89ABab][0-9A-Fa-f]{2})\\u(?P<low>[Dd][C-Fc-f][0-9A-Fa-f]{2})
    | x(?P<two>[0-9A-Fa-f]{2}) | u(?P<four>[0-9A-Fa-f]{4}) | u\{(?P<many>0*(?:10)?[0-9A-Fa-f]{1,4}|0*[0-9A-Fa-f]{1,5})\}
    | c(?P<control>[A-Za-z]) | (?P<letter>[tnvfr]) | (?P<null>0(?!\d)) | (?P<itself>[^0-9A-Za-z]) )""",
    re.VERBOSE | re.DOTALL,
)
_LETTERS = "tnvfr"  # in the order of their code points, from 9 on
_SET = re.compile(r"\\(?:[dDwWsS]|[pP]\{[A-Za-z0-9_]+(?:=[A-Za-z0-9_]+)?\})")
_SETS = {
    r"\d": r"0-9",
    r"\D": r"\x00-\x2f\x3a-\U0010ffff",
    r"\w": r"0-9A-Z\x5fa-z",
    r"\W": r"\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\U0010ffff",
    r"\s": r"\x09-\x0d\x20\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff",
    r"\S": r"\x00-\x08\x0e-\x1f\x21-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e"
    r"\u2060-\u2fff\u3001-\ufefe\uff00-\U0010ffff",
}
_ANY = r"[^\x0a\x0d\u2028\u2029]"
_ASCII = [chr(point) for point in range(128)]
_ESCAPED = frozenset('"\\\x7f') | {chr(point) for point in range(32)}
# Stands beside a character that must not stand alone, and is forbidden by a pattern of its own.
_COMPANION = r"\x02"
_NO_COMPANION = r"^[^\x02]*$"


class UnsupportedPattern(ValueError):
    """A pattern that no text can be held to; the message names it and the place."""


def held_patterns(pattern: str) -> list[str]:
    """Patterns in Rust's syntax such that llguidance makes only texts that `pattern` matches by ECMA-262, section 22.2.

    They all have to match. What they lose are texts with one of two control characters, NUL and U+0002.

    Raises:
        UnsupportedPattern: ECMA-262 does not know it, or llguidance could not hold to it.
    """
    held = _held(pattern, exact=False)
    return [held, _NO_COMPANION] if _COMPANION in held else [held]


def held_name_pattern(pattern: str) -> str:
    """The pattern in Rust's syntax, losing nothing: a name that it does not match falls under another rule.

    Raises:
        UnsupportedPattern: llguidance could hold only to a part of it, or not at all.
    """
    return _held(pattern, exact=True)


def _held(pattern: str, *, exact: bool) -> str:
    written: list[str] = []
    position = 0
    while position < len(pattern):
        if token := _STRUCTURE.match(pattern, position):
            piece, position = token[0], token.end()
        elif pattern[position] == ".":
            piece, position = _ANY, position + 1
        elif pattern[position] == "[":
            items, end = _items(pattern, position)
            piece, position = _held_class(pattern[position:end], items, exact), end
        elif token := _SET.match(pattern, position):
            piece, position = _held_class(token[0], f"[{_set(token[0])}]", exact), token.end()
        else:
            point, end = _character(_RAW, pattern, position)
            piece = _written(point)
            if chr(point) in _ESCAPED:
                piece = _held_class(pattern[position:end], f"[{piece}]", exact)
            position = end
        written.append(piece)
    return "".join(written)


def _items(pattern: str, start: int) -> tuple[str, int]:
    """The class that begins at `start`, with its items written out, and where it ends."""
    opening = "[^" if pattern.startswith("[^", start) else "["
    position = start + len(opening)
    if pattern.startswith("]", position):  # ECMA-262 has an empty class, Python a longer one
        raise _unsupported(pattern, start)
    written = [opening]
    while not pattern.startswith("]", position):
        if token := _SET.match(pattern, position):
            written.append(_set(token[0]))
            position = token.end()
            continue
        begin = position
        low, position = _character(_RAW_IN_CLASS, pattern, position)
        high = low
        if pattern.startswith("-", position) and not pattern.startswith("-]", position):
            high, position = _character(_RAW_IN_CLASS, pattern, position + 1)
        if high < low:
            raise _unsupported(pattern, begin)
        written.append(_written(low) if low == high else f"{_written(low)}-{_written(high)}")
    return "".join(written) + "]", position + 1


def _set(named: str) -> str:
    return _SETS.get(named, named)


def _held_class(original: str, written: str, exact: bool) -> str:
    """The class, changed where llguidance would make wrong texts of it, also when it is joined with other classes."""
    if re.search(r"\\[pP]", written):
        without_null = with_companion = True
    else:
        has = {character for character in _ASCII if re.match(written, character)}
        without_null = "\0" in has and not has >= {'"', "\\"}
        with_companion = len(has - {"\0"} if without_null else has) == 1 and has <= _ESCAPED
    if exact and (without_null or with_companion):
        raise UnsupportedPattern(f"'{original}' is supported in the patterns of texts, and not of names")
    if with_companion:
        written = f"[{written}{_COMPANION}]"
    return rf"[{written}--\x00]" if without_null else written


def _character(raw: re.Pattern[str], pattern: str, position: int) -> tuple[int, int]:
    """The code point of a character, escaped or one that `raw` takes as it is, and where it ends."""
    if token := raw.match(pattern, position):
        return ord(token[0]), token.end()
    token = _ESCAPE.match(pattern, position)
    if token is None:
        raise _unsupported(pattern, position)
    return _point(token), token.end()


def _point(escape: re.Match[str]) -> int:
    if escape["high"]:
        return 0x10000 + ((int(escape["high"], 16) - 0xD800) << 10) + int(escape["low"], 16) - 0xDC00
    if escape["control"]:
        return ord(escape["control"]) % 32
    if escape["letter"]:
        return 9 + _LETTERS.index(escape["letter"])
    if escape["null"]:
        return 0
    if escape["itself"]:
        return ord(escape["itself"])
    return int(escape["two"] or escape["four"] or escape["many"], 16)


def _written(point: int) -> str:
    character = chr(point)
    if point < 128:
        return character if character.isalnum() else f"\\x{point:02x}"
    return f"\\U{point:08x}"


def _unsupported(pattern: str, position: int) -> UnsupportedPattern:
    return UnsupportedPattern(f"the pattern '{pattern}' is not supported from '{pattern[position:][:20]}' on")
