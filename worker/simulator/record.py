"""Every accepted message/send: when, from whom, which bytes, who was shown it and who was not."""

import binascii
import secrets
from array import array
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice

from worker.simulator.apps import App

_NUMBER_BYTES = 8
_SEAL_BYTES = 46
_DIGEST_BYTES = 32
_CONTENTS_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Delivery:
    """One accepted call.

    Attributes:
        number: counts accepted calls from 0.
        at: when, in Unix seconds of the simulator's clock.
        corpid: the corp that sent it.
        agentid: the app that sent it.
        msgid: what was answered; empty where a duplicate was answered without one.
        body_sha256: hexadecimal digest of the request body.
        msgtype: `text` and so on.
        content: the text shown, or the JSON of the type's object.
        served: who was shown it: userids in lower case, `@all`, `party:2`, `tag:7`.
        dropped: members who were silently left out because they were sent too much (doc 90312).
        duplicate_of: the number of the delivery this one repeats; then nobody was shown it (doc 90236).
        truncated: whether anything was cut off (doc 90236).
        recalled_at: when it was taken back, if it was.
        truncated_fields: the fields that were cut, such as `news.articles[0].title` (doc 90236).
        unknown_fields: fields its type does not list, such as `textcard.colour` or `safe`; they were ignored.
        response_code: what a card that calls back was answered; empty otherwise.
        updates: the numbers of the updates of its card, in order.
    """

    number: int
    at: float
    corpid: str
    agentid: int
    msgid: str
    body_sha256: str
    msgtype: str
    content: str
    served: list[str]
    dropped: list[str]
    duplicate_of: int | None
    truncated: bool
    recalled_at: float | None
    truncated_fields: list[str] = field(default_factory=list)
    unknown_fields: list[str] = field(default_factory=list)
    response_code: str = ""
    updates: list[int] = field(default_factory=list)


class Record:
    """All deliveries, kept in columns because a benchmark makes a million of them.

    A msgid is the delivery's number under a seal, and so is a response_code, so that none of them needs to be stored.
    """

    def __init__(self, apps: list[App]) -> None:
        self._apps = apps
        self.reset()

    def __len__(self) -> int:
        return len(self._at)

    def reset(self) -> None:
        """Forget every delivery; msgids given out before become unknown."""
        key = secrets.token_bytes(32)
        self._msgid_seal = blake2b(key=key, digest_size=_SEAL_BYTES, person=b"msgid")
        self._code_seal = blake2b(key=key, digest_size=_SEAL_BYTES, person=b"response_code")
        self._at = array("d")
        self._app_numbers = array("L")
        self._digests = bytearray()
        self._msgtypes: list[str] = []
        self._contents: list[str] = []
        self._served: list[str] = []
        self._dropped: dict[int, str] = {}
        self._duplicates: dict[int, tuple[int, str]] = {}
        self._truncated: dict[int, list[str]] = {}
        self._unknown: dict[int, list[str]] = {}
        self._card_types: dict[int, str] = {}
        self._card_updates: dict[int, list[int]] = {}
        self._recalled_at: dict[int, float] = {}
        self._last_contents: dict[str, str] = {}

    def add(self, at: float, app_number: int, digest: bytes, msgtype: str, content: str) -> int:
        """Write one delivery down, shown to nobody yet; returns its number."""
        if len(self._last_contents) > _CONTENTS_REMEMBERED:
            self._last_contents.clear()
        self._at.append(at)
        self._app_numbers.append(app_number)
        self._digests += digest
        self._msgtypes.append(msgtype)
        self._contents.append(self._last_contents.setdefault(content, content))
        self._served.append("")
        return len(self._at) - 1

    def serve(self, number: int, served: list[str], dropped: list[str]) -> None:
        """Write down who was shown it and who was not."""
        self._served[number] = "|".join(served)
        if dropped:
            self._dropped[number] = "|".join(dropped)

    def note(self, number: int, *, truncated: list[str], unknown: list[str]) -> None:
        """Write down which fields were cut, and which no document lists."""
        if truncated:
            self._truncated[number] = truncated
        if unknown:
            self._unknown[number] = unknown

    def add_card(self, number: int, card_type: str) -> None:
        """Write down that it is a card that calls back and so can be updated."""
        self._card_types[number] = card_type

    def card_type(self, number: int) -> str:
        """Which type of card it is; empty for anything but a card that calls back."""
        return self._card_types.get(number, "")

    def update_card(self, number: int, update: int) -> None:
        """Write down that its card was updated."""
        self._card_updates.setdefault(number, []).append(update)

    def suppress(self, number: int, original: int, msgid: str) -> None:
        """Write down that it repeats an earlier one and was answered with this msgid."""
        self._duplicates[number] = (original, msgid)

    def recall(self, number: int, at: float) -> None:
        """Write down that it was taken back."""
        self._recalled_at[number] = at

    def recalled(self, number: int) -> bool:
        """Whether it was taken back."""
        return number in self._recalled_at

    def accepted_at(self, number: int) -> float:
        """When it was accepted, in Unix seconds of the simulator's clock."""
        return self._at[number]

    def app_number(self, number: int) -> int:
        """Which app sent it."""
        return self._app_numbers[number]

    def has_digest(self, number: int, digest: bytes) -> bool:
        """Whether its body had this SHA-256 digest."""
        return self._digests.startswith(digest, number * _DIGEST_BYTES)

    def msgid(self, number: int) -> str:
        """The msgid of a delivery: 72 characters, unique, without meaning to the client (doc 94867 shows 63)."""
        return _sealed(number, self._msgid_seal)

    def number(self, msgid: str) -> int | None:
        """The delivery a msgid names, or None where it was never given out here."""
        return self._opened(msgid, self._msgid_seal)

    def response_code(self, number: int) -> str:
        """The response_code of a delivery's card."""
        return _sealed(number, self._code_seal)

    def number_of_code(self, response_code: str) -> int | None:
        """The delivery a response_code is for, or None where it was never given out here."""
        return self._opened(response_code, self._code_seal)

    def delivery(self, number: int) -> Delivery:
        """Everything known about one delivery."""
        app = self._apps[self._app_numbers[number]]
        original, msgid = self._duplicates.get(number) or (None, self.msgid(number))
        return Delivery(
            number=number,
            at=self._at[number],
            corpid=app.corpid,
            agentid=app.agentid,
            msgid=msgid,
            body_sha256=self._digests[number * _DIGEST_BYTES : (number + 1) * _DIGEST_BYTES].hex(),
            msgtype=self._msgtypes[number],
            content=self._contents[number],
            served=_names(self._served[number]),
            dropped=_names(self._dropped.get(number, "")),
            duplicate_of=original,
            truncated=number in self._truncated,
            recalled_at=self._recalled_at.get(number),
            truncated_fields=self._truncated.get(number, []),
            unknown_fields=self._unknown.get(number, []),
            response_code=self.response_code(number) if number in self._card_types else "",
            updates=self._card_updates.get(number, []),
        )

    def page(self, since: int, limit: int) -> list[Delivery]:
        """At most `limit` deliveries, from number `since` on."""
        return [self.delivery(number) for number in range(since, min(since + limit, len(self._at)))]

    def shown(self, since: int, limit: int, *, include_recalled: bool) -> dict[str, list[str]]:
        """What each member, group or everyone was shown by `limit` deliveries from `since` on, in order."""
        shown: dict[str, list[str]] = {}
        for number, served in enumerate(islice(self._served, since, since + limit), since):
            if include_recalled or number not in self._recalled_at:
                for name in _names(served):
                    shown.setdefault(name, []).append(self._contents[number])
        return shown

    def counts(self) -> dict[str, int]:
        """How many deliveries there are, and how many were suppressed, cut, recalled or partly dropped."""
        return {
            "deliveries": len(self._at),
            "duplicates": len(self._duplicates),
            "truncated": len(self._truncated),
            "recalled": len(self._recalled_at),
            "dropped": sum(dropped.count("|") + 1 for dropped in self._dropped.values()),
        }

    def _opened(self, text: str, sealer: blake2b) -> int | None:
        try:
            opened = b64decode(text, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        seal, plain = opened[:-_NUMBER_BYTES], opened[-_NUMBER_BYTES:]
        if not seal or seal != _seal(plain, sealer):
            return None
        number = int.from_bytes(plain, "big")
        return number if number < len(self._at) else None


def _sealed(number: int, sealer: blake2b) -> str:
    plain = number.to_bytes(_NUMBER_BYTES, "big")
    return b64encode(_seal(plain, sealer) + plain, b"-_").decode()


def _seal(plain: bytes, sealer: blake2b) -> bytes:
    seal = sealer.copy()
    seal.update(plain)
    return seal.digest()


def _names(joined: str) -> list[str]:
    return joined.split("|") if joined else []
