"""What WeCom saw: nothing lost, doubled or dropped, nothing at a moment at which nothing may be sent.

Counted is the local WeCom's own record. Of the product only two things are read: the msgids, to be compared with it,
and what killed workers had claimed.
"""

import bisect
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.breaks import Pause
from chaos.traffic import CAMPAIGN, PROBED, Handed
from faults.proxy import Seen

from worker.ledger import Ledger
from worker.simulator.record import Delivery

PER_MINUTE, PER_HOUR = 30, 1000
HEARD_WITHIN = 1.0
"""Seconds until a quiet window and a pause are heeded."""


@dataclass(frozen=True)
class Course:
    """What happened, as far as others than the product know.

    Attributes:
        handed: what programs handed over.
        window: begin and end of the quiet window, in Unix seconds of WeCom's clock, as all times.
        pauses: when campaigns were paused.
        calls: what the proxy before WeCom saw, in Unix seconds of this machine.
        clock_shift: how far WeCom's clock is ahead of this machine's, in seconds.
        deliveries: WeCom's record.
    """

    handed: Handed
    window: tuple[float, float]
    pauses: Collection[Pause]
    calls: Collection[Seen]
    clock_shift: float
    deliveries: Sequence[Delivery]


def faults(course: Course, ledger: Ledger) -> dict[str, Any]:
    """Return what should not have happened, by its kind; kinds of which there is nothing are left out."""
    deliveries = course.deliveries
    found: dict[str, Any] = {
        "lost": lost(course.handed, deliveries),
        "doubled": doubled(deliveries),
        "dropped": dropped(deliveries),
        "past the limits": past_the_limits(deliveries),
        "in the quiet window": sent_in_quiet_window(course.handed, course.window, deliveries),
        "while paused": sent_while_paused(course, ledger),
        "wrong msgids": wrong_msgids(ledger, deliveries),
    }
    return {kind: which for kind, which in found.items() if which}


def lost(handed: Handed, deliveries: Iterable[Delivery]) -> set[tuple[int, str, str]]:
    """What was promised and never accepted."""
    return handed.promised - _accepted(deliveries).keys()


def doubled(deliveries: Iterable[Delivery]) -> dict[tuple[int, str, str], int]:
    """What was accepted for a member more than once, repetitions that WeCom suppressed left out."""
    return {one: times for one, times in _accepted(deliveries).items() if times > 1}


def dropped(deliveries: Iterable[Delivery]) -> list[str]:
    """Who was silently left out, by WeCom's own word."""
    return [f"{user} at {delivery.at:.1f}" for delivery in deliveries for user in delivery.dropped]


def past_the_limits(deliveries: Iterable[Delivery]) -> list[str]:
    """Where the times of what was accepted pass 30 in 60 s or 1000 in an hour, by app and member."""
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.duplicate_of is None:
            for user in (*delivery.served, *delivery.dropped):
                times[delivery.agentid, user].append(delivery.at)
    return [
        f"{limit + 1} to {user} of {agentid} within {seconds} s from {first:.1f}"
        for (agentid, user), all_of_them in times.items()
        for limit, seconds in ((PER_MINUTE, 60), (PER_HOUR, 3600))
        for first, last in zip(sorted(all_of_them), sorted(all_of_them)[limit:], strict=False)
        if last - first < seconds
    ]


def sent_in_quiet_window(handed: Handed, window: tuple[float, float], deliveries: Iterable[Delivery]) -> list[str]:
    """What was not urgent and arrived later than a second after the window's begin, and before its end."""
    begin, end = window
    return [
        f"{delivery.content} to {user}, {delivery.at - begin:.2f} s after its begin"
        for delivery in deliveries
        if begin + HEARD_WITHIN < delivery.at < end
        for user in delivery.served
        if user not in handed.urgent and not user.startswith(PROBED)
    ]


def sent_while_paused(course: Course, ledger: Ledger) -> list[str]:
    """What of a paused campaign arrived later than a second after the pause.

    A message whose fate is unknown may be repeated, for nothing else can tell it: one that had left before, and one
    that a worker had claimed before and was killed. Only the ledger knows those.
    """
    left: dict[str, float] = _claimed_by_the_dead(ledger)
    for seen in course.calls:
        if mark := _campaign_mark(seen.request.text):
            at = seen.at + course.clock_shift
            left[mark] = min(at, left.get(mark, at))
    return [
        f"{delivery.content}, {delivery.at - pause.begin:.2f} s after the pause"
        for delivery in course.deliveries
        if delivery.content.startswith(CAMPAIGN)
        for pause in course.pauses
        if pause.agentid == delivery.agentid
        and pause.begin + HEARD_WITHIN < delivery.at < pause.end
        and left.get(delivery.content, pause.end) > pause.begin + HEARD_WITHIN
    ]


def _claimed_by_the_dead(ledger: Ledger) -> dict[str, float]:
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "select message.body->'text'->>'content', extract(epoch from min(attempt.at)) "
            "from wecom.messages as message join wecom.attempts as attempt on attempt.message = message.id "
            "where attempt.category = 'uncertain' and message.campaign is not null group by 1"
        )
        return {content: float(at) for content, at in rows}


def wrong_msgids(ledger: Ledger, deliveries: Iterable[Delivery]) -> list[str]:
    """Where the ledger has a msgid that WeCom never gave, or gave for another message."""
    given = {delivery.msgid: delivery for delivery in deliveries if delivery.duplicate_of is None}
    with ledger.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "select msgid, touser, body->'text'->>'content' from wecom.messages where msgid is not null"
        ).all()
    wrong = []
    for msgid, users, content in rows:
        delivery = given.get(msgid)
        if delivery is None:
            wrong.append(f"{msgid} of {users} was never given")
            continue
        named = [*delivery.served, *delivery.dropped]
        if [user.lower() for user in users] != named or content not in (None, delivery.content):
            wrong.append(f"{users} {content!r} has the msgid of {named} {delivery.content!r}")
    return wrong


def waited_for_the_window(window: tuple[float, float], deliveries: Iterable[Delivery]) -> tuple[int, int]:
    """How many arrived before the window and after it: the course is worth something if both are many."""
    times = sorted(delivery.at for delivery in deliveries)
    return bisect.bisect(times, window[0]), len(times) - bisect.bisect(times, window[1])


def _accepted(deliveries: Iterable[Delivery]) -> Counter[tuple[int, str, str]]:
    return Counter(
        (delivery.agentid, user, delivery.content if delivery.msgtype == "text" else delivery.msgtype)
        for delivery in deliveries
        if delivery.duplicate_of is None
        for user in (*delivery.served, *delivery.dropped)
    )


def _campaign_mark(body: str) -> str | None:
    begin = body.find(CAMPAIGN)
    return body[begin : body.find('"', begin)] if begin >= 0 else None
