"""How much of what comes from outside the ledger keeps: whatever a provider hands over, a row takes it.

Postgres refuses what an index cannot hold (a third of a page, 2704 bytes) or a column cannot (NUL, halves of
characters, numbers out of range), and with the row the whole batch it is settled in.
"""

from collections.abc import Iterable
from itertools import islice

LONGEST_TEXT = 2000
"""Bytes of a reason."""
LONGEST_NAME = 512
"""Bytes of what names something at the provider: a msgid, a response_code, a recipient. A userid has at most 64."""
MOST_INVALID = 1200
"""Recipients of a kind; one call names at most 1000 members, 100 departments and 100 tags."""
LARGEST_INTEGER = 2**31 - 1
LARGEST_SMALL_INTEGER = 2**15 - 1
CUT = "…"


def storable(words: str) -> str:
    """Spell out what Postgres cannot hold, NUL and halves of characters, as JSON does."""
    return words.replace("\0", "\\u0000").encode(errors="backslashreplace").decode()


def shortened(words: str, most_bytes: int = LONGEST_TEXT) -> str:
    """Return words that Postgres can hold, cut off with an ellipsis where they are longer than so many bytes."""
    if len(words) <= most_bytes and words.isascii() and "\0" not in words:
        return words
    kept = storable(words)
    encoded = kept.encode()
    if len(encoded) > most_bytes:
        return encoded[: most_bytes - len(CUT.encode())].decode(errors="ignore") + CUT
    return words if kept == words else kept


def name_or_none(name: str | None) -> str | None:
    """Return a name that can be kept whole, otherwise None: a part of a name names nothing."""
    return name if name is None or shortened(name, LONGEST_NAME) is name else None


def number_or_none(number: int | None) -> int | None:
    """Return a number that an integer column can hold, otherwise None."""
    return number if number is None or abs(number) <= LARGEST_INTEGER else None


def small_number_or_none(number: int | None) -> int | None:
    """Return a number that a column of small integers can hold, otherwise None."""
    return number if number is None or abs(number) <= LARGEST_SMALL_INTEGER else None


def first_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return as many names as are kept, each shortened to what an index can hold."""
    return tuple(shortened(name, LONGEST_NAME) for name in islice(names, MOST_INVALID))
