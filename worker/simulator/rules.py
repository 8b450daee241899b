"""The simulated calls and their documented rules, in memory, without input or output."""

import re
from dataclasses import asdict
from hashlib import sha256
from typing import cast
from urllib.parse import parse_qs

import orjson

from worker.simulator.answers import WRONG_JSON, Answer, RefusedError, accepted, refused
from worker.simulator.apps import App, Apps
from worker.simulator.audience import NOBODY_REJECTED, Audience, audience_of
from worker.simulator.card_updates import CardUpdates
from worker.simulator.clock import SettableClock
from worker.simulator.contents import content_of
from worker.simulator.limits import Limits
from worker.simulator.media import Media, file_in, may_be_safe
from worker.simulator.reading import Reading
from worker.simulator.record import Record
from worker.simulator.settings import Settings
from worker.simulator.wire import Request

DEFAULT_DUPLICATE_INTERVAL = 1800
LONGEST_DUPLICATE_INTERVAL = 14_400
"""Seconds in which the same body is not shown twice (doc 90236); a longer wish counts as the longest."""

_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u")
_TOKEN_ONLY = "access_token="  # noqa: S105 - the name of a parameter, not a secret
_EXPIRY_SWEEP = 100_000
_WITHOUT_AGENTID = "miniprogram_notice"
"""Its documentation does not list agentid (doc 90236)."""


class SimulatedWecom:
    """One WeCom with its apps, clock, settings, limits and record."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.settings = Settings()
        self.apps = Apps(self.settings, self.clock)
        self.limits = Limits(self.settings)
        self.record = Record(self.apps.apps)
        self.media = Media(self.settings)
        self.card_updates = CardUpdates(self.settings, self.record)
        self._accepted_bodies: dict[int, int] = {}
        self._next_sweep = _EXPIRY_SWEEP
        self._rules = {
            "gettoken": self._get_token,
            "send": self._send,
            "recall": self._recall,
            "update_card": self._update_card,
            "upload": self._upload,
            "uploadimg": self._upload_permanent,
        }
        self.reset()

    def reset(self) -> None:
        """Become as new: only the newcomer's app, documented settings, the machine's clock, an empty record."""
        self.settings.change(asdict(Settings()))  # everyone holds this object, so it is not replaced
        self.clock.reset()
        self.apps.reset()
        self.limits.reset()
        self.record.reset()
        self.media.reset()
        self.card_updates.reset()
        self._accepted_bodies.clear()

    def answer(self, endpoint: str, request: Request) -> Answer:
        """Carry out one call to one of `faults.ENDPOINTS` and say what it is answered; never raises."""
        try:
            return self._rules[endpoint](request)
        except RefusedError as refusal:
            return refused(refusal.errcode, warning=refusal.warning, fields=refusal.fields)

    def _get_token(self, request: Request) -> Answer:
        """`GET /cgi-bin/gettoken?corpid=&corpsecret=` (doc 91039)."""
        corpid, secret = parameter(request.query, "corpid"), parameter(request.query, "corpsecret")
        self.limits.check_call(corpid, "gettoken", self.clock.now())
        token, life = self.apps.get_token(corpid, secret)
        return accepted(corpid, access_token=token, expires_in=life)

    def _send(self, request: Request) -> Answer:
        """`POST /cgi-bin/message/send?access_token=` (doc 90236)."""
        app_number, app, message, now = self._admit("send", request)
        if message.get("agentid") is not None or message.get("msgtype") != _WITHOUT_AGENTID:
            _check_agentid(app, message.get("agentid"), self.apps.apps)
        msgtype, content, reading = content_of(message, self.settings)
        if reading:
            self._look_up(app_number, app, message, reading, now)
        audience = audience_of(message)
        digest = sha256(request.body).digest()
        if message.get("enable_duplicate_check") == 1:
            original = self._original(app_number, digest, message, now)
            if original is not None:
                number = self.record.add(now, app_number, digest, msgtype, content)
                return self._suppress(app, number, original, audience)
        if reading and reading.task_id:
            self.card_updates.check_task_id(app_number, reading.task_id)
        self.limits.check_day(app_number, app, self._persons(audience), now)
        number = self.record.add(now, app_number, digest, msgtype, content)
        served, dropped = self._show(app_number, audience, now)
        self.record.serve(number, served, dropped)
        if reading:
            self._remember(number, app_number, reading)
        if message.get("enable_duplicate_check") == 1:
            self._accepted_bodies[_body_key(app_number, digest)] = number
        return self._sent(app, audience, self.record.msgid(number), number)

    def _look_up(self, app_number: int, app: App, message: dict[str, object], reading: Reading, now: float) -> None:
        """Hold what a message names against what is known.

        Raises:
            RefusedError: 40007 or 40145 its media, 40058 a file that cannot be sent with safe 1, 43012 a card that
                calls back without a callback URL, 42014 its task_id where that is set to come first.
        """
        self._check_media(app, reading, now, safe_file=message.get("msgtype") == "file" and message.get("safe") == 1)
        if reading.calls_back and not app.callback_url:
            raise RefusedError(43012)
        if reading.task_id and self.settings.task_id_first:
            self.card_updates.check_task_id(app_number, reading.task_id)

    def _check_media(self, app: App, reading: Reading, now: float, *, safe_file: bool = False) -> None:
        for media_id, kind in reading.media:
            upload = self.media.find(app.corpid, media_id, kind, now)
            if safe_file and upload and not may_be_safe(upload.filename):
                raise RefusedError(40058)

    def _remember(self, number: int, app_number: int, reading: Reading) -> None:
        self.record.note(number, truncated=reading.truncated, unknown=reading.unknown)
        if reading.task_id:
            self.card_updates.take_task_id(app_number, reading.task_id)
        if reading.calls_back:
            self.record.add_card(number, reading.card_type)

    def _update_card(self, request: Request) -> Answer:
        """`POST /cgi-bin/message/update_template_card?access_token=` (doc 94888)."""
        app_number, app, message, now = self._admit("update_card", request)
        _check_agentid(app, message.get("agentid"), self.apps.apps)
        asked, reading = self.card_updates.read(message)
        self._check_media(app, reading, now)
        update = self.card_updates.update(app_number, app, asked, now)
        if update.invalid or self.settings.empty_lists:
            return accepted(app.corpid, invaliduser=update.invalid)
        return accepted(app.corpid)

    def _upload(self, request: Request) -> Answer:
        """`POST /cgi-bin/media/upload?access_token=&type=` (doc 90253)."""
        _, app, now = self._caller("upload", request)
        part = file_in(request.content_type, request.body, name="media")
        upload = self.media.upload(app, parameter(request.query, "type"), part, now)
        created_at = int(upload.at) if self.settings.created_at_number else str(int(upload.at))
        return accepted(app.corpid, type=upload.kind, media_id=upload.media_id, created_at=created_at)

    def _upload_permanent(self, request: Request) -> Answer:
        """`POST /cgi-bin/media/uploadimg?access_token=` (doc 90256); the part may have any name."""
        _, app, now = self._caller("uploadimg", request)
        part = file_in(request.content_type, request.body)
        upload = self.media.upload_permanent(app, part, now, self.limits)
        return accepted(app.corpid, url=upload.url)

    def _recall(self, request: Request) -> Answer:
        """`POST /cgi-bin/message/recall?access_token=` (doc 94867).

        40058 for a msgid that is unknown or another app's, 42052 past 24 hours (doc 90313).
        """
        app_number, app, message, now = self._admit("recall", request)
        msgid = message.get("msgid")
        number = self.record.number(msgid) if isinstance(msgid, str) else None
        if number is None or self.record.app_number(number) != app_number:
            raise RefusedError(40058)
        if now - self.record.accepted_at(number) > self.settings.recall_seconds:
            raise RefusedError(42052)
        if not self.record.recalled(number):
            self.record.recall(number, now)
        elif self.settings.repeated_recall_errcode:
            raise RefusedError(self.settings.repeated_recall_errcode)
        return accepted(app.corpid)

    def _admit(self, endpoint: str, request: Request) -> tuple[int, App, dict[str, object], float]:
        """What every call with JSON goes through: method, token, frequency, characters, JSON (doc 90313)."""
        app_number, app, now = self._caller(endpoint, request)
        return app_number, app, _object_in(request.body), now

    def _caller(self, endpoint: str, request: Request) -> tuple[int, App, float]:
        """What every business call goes through: method, token, frequency (doc 90313)."""
        if request.method != b"POST":
            raise RefusedError(40058)
        query = request.query
        app_number, app = self.apps.caller(token_of(query))
        now = self.clock.now()
        self.limits.check_call(app.corpid, endpoint, now, debug=parameter(query, "debug") == "1")
        return app_number, app, now

    def _original(self, app_number: int, digest: bytes, message: dict[str, object], now: float) -> int | None:
        """The delivery this body repeats, if it was accepted inside the interval (doc 90236)."""
        number = self._accepted_bodies.get(_body_key(app_number, digest))
        if number is None:
            self._sweep(now)
            return None
        known = self.record.app_number(number) == app_number and self.record.has_digest(number, digest)
        interval = message.get("duplicate_check_interval") or DEFAULT_DUPLICATE_INTERVAL
        if not isinstance(interval, int):
            raise RefusedError(40058, warning=WRONG_JSON)
        inside = now - self.record.accepted_at(number) < min(interval, LONGEST_DUPLICATE_INTERVAL)
        return number if known and inside else None

    def _suppress(self, app: App, number: int, original: int, audience: Audience) -> Answer:
        """Show it to nobody; what is answered then is not documented and therefore set."""
        answered = {"same": original, "new": number}.get(self.settings.duplicate_answer)
        msgid = "" if answered is None else self.record.msgid(answered)
        self.record.suppress(number, original, msgid)
        return self._sent(app, audience, msgid, original if msgid else None)

    def _sent(self, app: App, audience: Audience, msgid: str, number: int | None) -> Answer:
        """Answer errcode 0, with the lists of those who were not served and a card's response_code (doc 90236)."""
        fields = dict(audience.rejected) if self.settings.empty_lists else _named(audience.rejected)
        if msgid:
            fields["msgid"] = msgid
        if number is not None and self.record.card_type(number):
            fields["response_code"] = self.record.response_code(number)
        return accepted(app.corpid, **fields)

    def _show(self, app_number: int, audience: Audience, now: float) -> tuple[list[str], list[str]]:
        """Divide members into those who are shown it and those who got too much already (doc 90312)."""
        dropped: list[str] = []
        served: list[str] = []
        for userid in audience.users:
            (served if self.limits.shows(app_number, userid, now) else dropped).append(userid)
        return served + audience.groups, dropped

    def _persons(self, audience: Audience) -> int:
        return len(audience.users) + len(audience.groups) * self.settings.persons_per_group

    def _sweep(self, now: float) -> None:
        """Forget bodies no interval covers any more, so that a long run does not grow without end."""
        if len(self._accepted_bodies) < self._next_sweep:
            return
        oldest = now - LONGEST_DUPLICATE_INTERVAL
        self._accepted_bodies = {
            key: number for key, number in self._accepted_bodies.items() if self.record.accepted_at(number) > oldest
        }
        self._next_sweep = max(_EXPIRY_SWEEP, 2 * len(self._accepted_bodies))


def token_of(query: str) -> str:
    """The access token in a query; empty without one. Only the address counts, never the body (doc 90313)."""
    if query.startswith(_TOKEN_ONLY) and "&" not in query and "%" not in query:
        return query[len(_TOKEN_ONLY) :]
    return parameter(query, "access_token")


def parameter(query: str, name: str) -> str:
    """One parameter of a query, decoded; empty where it is missing."""
    if name not in query:
        return ""
    return parse_qs(query).get(name, [""])[0]


def _object_in(body: bytes) -> dict[str, object]:
    """The JSON object in a body; 40033 where an escape stands in it, 40058 on anything but an object (doc 90313)."""
    if b"\\u" in body and _ESCAPE.search(body):
        raise RefusedError(40033)
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise RefusedError(40058, warning=WRONG_JSON)
    return cast("dict[str, object]", message)


def _check_agentid(app: App, agentid: object, apps: list[App]) -> None:
    """41011 missing, 40056 no integer or no app of the corp, 301002 another app's (doc 90313)."""
    if agentid == app.agentid and type(agentid) is int:
        return
    if agentid is None:
        raise RefusedError(41011)
    if type(agentid) is int and any(other.agentid == agentid for other in apps):
        raise RefusedError(301002)
    raise RefusedError(40056)


def _named(lists: dict[str, str]) -> dict[str, str]:
    return {} if lists is NOBODY_REJECTED else {name: names for name, names in lists.items() if names}


def _body_key(app_number: int, digest: bytes) -> int:
    """A short key for an app's body; who finds something under it compares the whole digest."""
    return int.from_bytes(digest[:8], "big") ^ app_number
