"""What the doctor asks about senders: whether WeCom accepts them, and what holds them back."""

from collections.abc import Iterator, Mapping
from contextlib import suppress

from redis import Redis, RedisError
from sqlalchemy.exc import OperationalError

from worker.cli.findings import Finding, fault, fault_of, fine, warning
from worker.cli.times import local
from worker.cli.way_on import way_on
from worker.delivery.apps import SendersOfApps
from worker.delivery.default_sender import ensure_default_sender
from worker.delivery.office import quiet_windows
from worker.delivery.quota import Quota
from worker.encryption import KeyRing, SecretKeyError
from worker.ledger import Ledger, LedgerError, require_migrated
from worker.messages.sender import Sender
from worker.providers import open_client, open_providers
from worker.providers.base import Category, Provider
from worker.providers.wecom.errcodes import ERRCODES
from worker.settings import Settings

LITTLE_LEFT = 0.1
"""Of the person-times of a day."""


def wecom(chosen: Settings) -> Finding:
    """See whether WeCom's host answers; a gettoken that names no corp is refused without harm."""
    client = open_client(chosen)
    try:
        answer = client.get("/cgi-bin/gettoken", {}).answer
    finally:
        client.close()
    if answer.errcode is None:
        return fault(
            "wecom",
            "WeCom",
            f"{chosen.api_base_url}: {answer.reason}",
            "check the network, WECOM_API_BASE_URL and WECOM_PROXY; messages wait meanwhile",
        )
    return fine("wecom", "WeCom", f"{chosen.api_base_url} answers ({answer.milliseconds} ms)")


def senders(chosen: Settings, ledger: Ledger, redis: Redis, key_ring: KeyRing) -> Iterator[Finding]:
    """See whether each sender can send; those that are stopped are not tried, as repeated wrong secrets ban us."""
    try:
        require_migrated(ledger.engine)
        redis.ping()
        ensure_default_sender(ledger, chosen)
        names = ledger.senders.names()
    except (LedgerError, OperationalError, RedisError):
        yield warning("senders", "Senders", "not checked: Postgres or Redis cannot be used", "see above")
        return
    except SecretKeyError as error:
        yield fault_of("sender", "Sender default", error)
        return
    if not names:
        yield warning("senders", "Senders", "there are none", "add one with `wecom senders add`")
    providers = open_providers(chosen, redis, key_ring)
    apps = SendersOfApps(ledger.senders, providers)
    quota = Quota(redis, ledger.usage, quiet_windows(chosen), chosen.lease_seconds, apps)
    for name in names:
        try:
            sender, now = ledger.senders.open(name)
        except (SecretKeyError, LedgerError) as error:
            yield fault_of("sender", f"Sender {name}", error)
            continue
        yield _stopped(sender) if sender.paused(now) else _authenticated(sender, providers)
        with suppress(RedisError):  # what is said of Redis tells more
            left = quota.person_times_left(sender, now) if sender.provider in providers else None
            if left is not None:
                yield _left(sender, *left)
    yield from _held(ledger)


def _held(ledger: Ledger) -> Iterator[Finding]:
    for parking in ledger.parked_calls.waiting():
        yield warning(
            "sender.calls-parked",
            f"{parking.calls.capitalize()} of {parking.sender}",
            f"parked until {local(parking.until)}: {parking.reason}",
            "nothing: they go on by themselves, and messages are sent meanwhile",
            sender=parking.sender,
            calls=parking.calls,
            until=parking.until,
        )
    yield from _standing_aside(ledger)


def _standing_aside(ledger: Ledger) -> Iterator[Finding]:
    """Name the workers that leave a sender to others, and say so where there are no others."""
    asides = ledger.asides.now()
    living = {sign.worker.id for sign in ledger.workers.all() if sign.lives and sign.delivers}
    for aside in asides:
        others = living - {one.worker.id for one in asides if one.sender == aside.sender}
        machine = f"{aside.worker.machine} (process {aside.worker.pid})"
        say, meanwhile = (warning, "others send") if others else (fault, "no other worker is there that could send")
        yield say(
            "sender.standing-aside",
            f"Sender {aside.sender}",
            f"{machine} stands aside since {local(aside.since)}, and {meanwhile}: {aside.reason}",
            f"mend that machine; it tries again by itself, at once after `wecom senders resume {aside.sender}`",
            sender=aside.sender,
            machine=aside.worker.machine,
            pid=aside.worker.pid,
            since=aside.since,
            until=aside.until,
        )


def _left(sender: Sender, left: int, all_of_the_day: int) -> Finding:
    check, subject = "sender.quota", f"Sender {sender.name}"
    words = f"{left} of its {all_of_the_day} person-times are left today"
    facts = {"sender": sender.name, "left": left, "of": all_of_the_day}
    if left < LITTLE_LEFT * all_of_the_day:
        advice = "what does not fit waits until midnight in Beijing; `wecom senders limit` sets the account cap"
        return warning(check, subject, words, advice, **facts)
    return fine(check, subject, words, **facts)


def _stopped(sender: Sender) -> Finding:
    subject, facts = f"Sender {sender.name}", {"sender": sender.name, "reason": sender.paused_reason}
    if sender.paused_until is not None:
        until = local(sender.paused_until)
        words = f"parked until {until}: {sender.paused_reason}"
        return warning("sender.parked", subject, words, "nothing: it goes on by itself", **facts)
    return fault(
        "sender.paused",
        subject,
        f"paused: {sender.paused_reason}",
        f"correct that, then {way_on(sender)}; its messages wait",
        **facts,
    )


def _authenticated(sender: Sender, providers: Mapping[str, Provider]) -> Finding:
    """Ask for a token, even where one is known: the secret may have been changed since it was fetched."""
    check, subject = "sender", f"Sender {sender.name}"
    provider = providers.get(sender.provider)
    if provider is None:
        advice = "upgrade wecom-worker"
        return fault(check, subject, f"this release knows no provider {sender.provider!r}", advice)
    answer = provider.check(sender)
    if answer.category is Category.ACCEPTED:
        return fine(check, subject, "WeCom accepts its credentials", sender=sender.name)
    errcode = ERRCODES.get(answer.errcode or 0)
    advice = errcode.advice if errcode else f"`wecom explain {answer.errcode}`" if answer.errcode else "see WeCom above"
    return fault(check, subject, answer.said, advice, sender=sender.name, errcode=answer.errcode)
