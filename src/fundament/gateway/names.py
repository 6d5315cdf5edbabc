"""What operators may call contracts and keys. It knows how names are shown and asked for, not who has which."""

from fundament.errors import InvalidChange

_MAX_CHARACTERS = 100


def check_name(name: str, *, of: str, unlike: tuple[str, ...]) -> None:
    """Holds a name against the rules.

    Args:
        of: what is named, for the message: "key".
        unlike: how ids look; a name that does, too, would make a command ambiguous.

    Raises:
        InvalidChange: the name is empty, too long, not printable, padded with spaces, or looks like an id.
    """
    # Tabs and line ends would break lists; a key pasted there by mistake would be stored in the clear.
    if not name or name != name.strip() or not name.isprintable():
        raise InvalidChange(f"A {of}'s name must be printable, on one line, and without spaces around it.")
    if len(name) > _MAX_CHARACTERS:
        raise InvalidChange(f"A {of}'s name has at most {_MAX_CHARACTERS} characters.")
    if name.startswith(unlike):
        beginnings = " or ".join(f"'{beginning}'" for beginning in unlike)
        raise InvalidChange(f"A {of}'s name must not start with {beginnings}: that is what ids and keys look like.")
