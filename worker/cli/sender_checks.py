"""What the doctor asks WeCom: whether it can be reached, and whether it accepts each sender's credentials."""

from collections.abc import Iterator, Mapping

from redis import Redis, RedisError
from sqlalchemy.exc import OperationalError

from worker.cli.findings import Finding, fine, note, problem, problem_of, skipped
from worker.cli.times import local
from worker.cli.way_on import way_on
from worker.delivery.default_sender import ensure_default_sender
from worker.encryption import KeyRing, SecretKeyError
from worker.ledger import Ledger, LedgerError, require_migrated
from worker.messages.sender import Sender
from worker.providers import open_client, open_providers
from worker.providers.base import Category, Provider, ProviderError
from worker.providers.wecom.errcodes import ERRCODES
from worker.settings import Settings


def wecom(chosen: Settings) -> Finding:
    """See whether WeCom's host answers; a gettoken that names no corp is refused without harm."""
    client = open_client(chosen)
    try:
        answer = client.get("/cgi-bin/gettoken", {}).answer
    finally:
        client.close()
    if answer.errcode is None:
        return problem(
            "WeCom",
            f"{chosen.api_base_url}: {answer.reason}",
            "check the network, WECOM_API_BASE_URL and WECOM_PROXY; messages wait meanwhile",
        )
    return fine("WeCom", f"{chosen.api_base_url} answers ({answer.milliseconds} ms)")


def senders(chosen: Settings, ledger: Ledger, redis: Redis, key_ring: KeyRing) -> Iterator[Finding]:
    """See whether each sender can send; those that are stopped are not tried, as repeated wrong secrets ban us."""
    try:
        require_migrated(ledger.engine)
        redis.ping()
        ensure_default_sender(ledger, chosen)
        names = ledger.senders.names()
    except (LedgerError, OperationalError, RedisError):
        yield skipped("Senders", "not checked: Postgres or Redis cannot be used")
        return
    except SecretKeyError as error:
        yield problem_of("Sender default", error)
        return
    if not names:
        yield note("Senders", "there are none", "add one with `wecom senders add`")
    providers = open_providers(chosen, redis, key_ring)
    for name in names:
        try:
            sender, now = ledger.senders.open(name)
        except (SecretKeyError, LedgerError) as error:
            yield problem_of(f"Sender {name}", error)
            continue
        yield _stopped(sender) if sender.paused(now) else _authenticated(sender, providers)
    for parking in ledger.parked_calls.waiting():
        yield note(
            f"{parking.calls.capitalize()} of {parking.sender}",
            f"parked until {local(parking.until)}: {parking.reason}",
            "nothing: they go on by themselves, and messages are sent meanwhile",
        )


def _stopped(sender: Sender) -> Finding:
    subject = f"Sender {sender.name}"
    if sender.paused_until is not None:
        until = local(sender.paused_until)
        return note(subject, f"parked until {until}: {sender.paused_reason}", "nothing: it goes on by itself")
    return problem(
        subject,
        f"paused: {sender.paused_reason}",
        f"correct that, then {way_on(sender)}; its messages wait",
    )


def _authenticated(sender: Sender, providers: Mapping[str, Provider]) -> Finding:
    subject = f"Sender {sender.name}"
    provider = providers.get(sender.provider)
    if provider is None:
        return problem(subject, f"this release knows no provider {sender.provider!r}", "upgrade wecom-worker")
    try:
        provider.open(sender)
    except ProviderError as error:
        answer = error.answer
        errcode = ERRCODES.get(answer.errcode or 0)
        reason = f"{answer.errcode}: {answer.reason}" if answer.errcode else answer.reason
        if errcode is not None:
            return problem(subject, reason, errcode.advice)
        network = answer.category in {Category.UNREACHABLE, Category.UNCERTAIN}
        return problem(subject, reason, "see WeCom above" if network else f"`wecom explain {answer.errcode}`")
    return fine(subject, "WeCom accepts its credentials")
