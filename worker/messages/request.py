"""The recipients of a whole message/send request, as WeCom's own examples write them."""

from collections.abc import Mapping
from typing import Any

from worker.messages.recipients import EVERYONE
from worker.messages.refusals import InvalidMessage

RECIPIENT_FIELDS = ("touser", "toparty", "totag", "agentid")
"""Fields of a request that say who sends it and to whom, not what."""


def recipients_of_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """Read whom a request names, as the arguments `users`, `parties`, `tags` and `everyone` of `Producer.send`.

    Ids are joined by `|`; blanks round it are not part of them, and nothing between two of them is nobody. Beside
    `@all` WeCom ignores departments and tags (doc 90236), so none are returned.

    Raises:
        InvalidMessage: a list of recipients is not a string.
    """
    users, parties, tags = (_ids(body, field) for field in ("touser", "toparty", "totag"))
    if [user.lower() for user in users] == [EVERYONE]:
        return {"users": [], "parties": [], "tags": [], "everyone": True}
    return {"users": users, "parties": parties, "tags": tags, "everyone": False}


def _ids(body: Mapping[str, Any], field: str) -> list[str]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, str):
        raise InvalidMessage(f"{field}: must be a string of ids joined by |, not {type(value).__name__}")
    return [one for one in (part.strip() for part in value.split("|")) if one]
