"""How people write durations ("30m") and moments ("30d" from now, "2027-01-31"). It knows nobody who asks."""

import re
import time
from datetime import UTC, datetime, timedelta

from fundament.errors import InvalidChange

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = timedelta(days=36_500)


def duration_s(text: str) -> int:
    """Seconds of "90s", "30m", "1h", "30d", or "0".

    Raises:
        InvalidChange: it is no duration, or longer than a century.
    """
    found = re.fullmatch(r"([0-9]{1,10})([smhd])", text)
    seconds = int(found[1]) * _UNITS_S[found[2]] if found else None if text != "0" else 0
    if seconds is None or seconds > _LONGEST.total_seconds():
        raise InvalidChange(f"'{text}' is no duration; write it as 90s, 30m, 1h or 30d.")
    return seconds


def moment(text: str) -> int:
    """Unix seconds of "30d" from now, of a date ("2027-01-31": its first second in UTC) or of a date with time.

    Raises:
        InvalidChange: it is none of these.
    """
    if re.fullmatch("[0-9]+[a-z]?", text):
        return int(time.time()) + duration_s(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidChange(f"'{text}' is no moment; write it as 30d or 2027-01-31.") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
