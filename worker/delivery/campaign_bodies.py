"""Makes the bodies of a campaign's messages: what is the same for all is serialised once."""

from collections.abc import Sequence
from typing import Any

from worker.delivery.accept import interval_of, with_duplicate_check
from worker.messages.bodyform import BodyForm
from worker.messages.personalised import PersonalisedMessage

INTERVAL = "duplicate_check_interval"


class Bodies:
    """The bodies of one campaign's messages as the ledger keeps them, each what that of a single message would be."""

    def __init__(self, message: PersonalisedMessage, duplicate_check_seconds: int) -> None:
        self._message = message
        self._seconds = duplicate_check_seconds
        self._form: BodyForm | None = None
        self._own_interval = False

    def texts(self, row: dict[str, Any]) -> list[str]:
        """Return the filled in texts for one recipient, judged by the limits of their fields.

        Raises:
            InvalidMessage: a value is missing, or the message could not be sent so; the text names the field.
        """
        texts = self._message.texts(row)
        if self._form is None:
            self._cut(row)
        return texts

    def body(self, texts: Sequence[str], message: int) -> bytes:
        """Return the body with the texts of one recipient as JSON.

        Args:
            texts: from `texts`.
            message: the id of the message as a number; its duplicate check interval follows from it.
        """
        assert self._form is not None  # noqa: S101 - there are no texts without it
        body = self._form.with_texts(texts)
        if self._own_interval:
            return b'{"duplicate_check_interval":%d,%b' % (interval_of(message, self._seconds), body[1:])
        return body

    def _cut(self, row: dict[str, Any]) -> None:
        """Cut the message into what is the same for all, and the places of what is not."""
        given = self._message.content(row).body()
        body = with_duplicate_check(given, 0)
        self._own_interval = INTERVAL in body and INTERVAL not in given
        if self._own_interval:
            del body[INTERVAL]
        self._form = self._message.form(body)
