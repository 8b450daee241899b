"""Reads the recipients of a campaign, one row at a time."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from worker.messages import InvalidMessage
from worker.messages.recipients import EVERYONE, userid
from worker.messages.refusals import described

Recipient = Mapping[str, Any] | str
"""Whom a campaign names: a userid, or a row with the key `userid` and the values the templates use."""

ROWS_HASHED_AT_ONCE = 1000


class Reading:
    """Reads recipients once, and remembers of all of them together only a hash.

    Attributes:
        rows: how many were read.
    """

    def __init__(self, of_all: Sequence[Any], recipients: Iterable[Recipient]) -> None:
        """Begin to read.

        Args:
            of_all: what else tells whether two campaigns of the same name are the same.
            recipients: userids, or rows.

        Raises:
            InvalidMessage: the recipients are no list.
        """
        if isinstance(recipients, str | bytes | Mapping) or not isinstance(recipients, Iterable):
            raise InvalidMessage("recipients: a list is needed, of userids or of rows with the key userid")
        self._recipients = recipients
        self._place: str | None = None
        self._hash = hashlib.sha256(_as_json(of_all))
        self.rows = 0

    @property
    def content_hash(self) -> bytes:
        """Tells whether two campaigns of the same name are the same, once all is read."""
        return self._hash.digest()

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each userid and its row.

        Raises:
            InvalidMessage: a row names nobody, or is none; the text says which row.
        """
        unhashed: list[dict[str, Any]] = []
        for recipient in self._recipients:
            self.rows += 1
            self._place = getattr(recipient, "place", None)
            try:
                row = row_of(recipient)
                named = userid(row["userid"], "userid")
            except InvalidMessage as error:
                raise self.refusal(error) from None
            if named == EVERYONE:
                raise self.refusal(InvalidMessage("userid: a campaign names members, @all is none"))
            unhashed.append(row)
            if len(unhashed) == ROWS_HASHED_AT_ONCE:
                self._hash_more(unhashed)
                unhashed.clear()
            yield named, row
        self._hash_more(unhashed)

    def refusal(self, error: InvalidMessage) -> InvalidMessage:
        """Say that an error is in the row that was read last; a row of a file knows its line."""
        return InvalidMessage(f"{self._place or f'recipient {self.rows}'}: {error}")

    def _hash_more(self, rows: list[dict[str, Any]]) -> None:
        try:
            self._hash.update(_as_json(rows))
        except UNREADABLE:
            for number, row in enumerate(rows, start=self.rows - len(rows) + 1):
                for name, value in row.items():
                    _require_readable(number, name, value)
            raise


UNREADABLE = (TypeError, ValueError, RecursionError)
"""What Python raises where a value cannot be written as JSON."""


def row_of(recipient: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever a producer gave
    """Return the row of a recipient, a copy of its own: a program may yield the same object again and again.

    Raises:
        InvalidMessage: it is neither a userid nor a row that has one.
    """
    if isinstance(recipient, str):
        return {"userid": recipient}
    if not hasattr(recipient, "keys"):
        raise InvalidMessage(
            f"userid: is missing; a userid or a row with the key userid is needed, not {described(recipient)}"
        )
    row = dict(recipient)
    if "userid" not in row:
        raise InvalidMessage("userid: is missing")
    return row


def _as_json(values: Sequence[Any]) -> bytes:
    try:
        return orjson.dumps(values, default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers past 64 bits, keys that are no strings, halves of characters
        return json.dumps(values, default=str).encode()


def _require_readable(number: int, name: object, value: object) -> None:
    try:
        _as_json([{name: value}])
    except UNREADABLE:
        if not isinstance(name, str):
            raise InvalidMessage(f"recipient {number}: the name of a column must be a text") from None
        raise InvalidMessage(
            f"recipient {number}: {name[:40]}: lists and objects are nested too deeply, or within themselves"
        ) from None
