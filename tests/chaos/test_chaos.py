"""Everything breaks, again and again, and no message is lost, doubled, dropped or misjudged.

Real servers of the test's own behind proxies that lose answers, several worker processes, two beats, and a local WeCom
that is slow and fails a tenth of all calls. While programs store messages and campaigns are paused, workers and beats
are killed, Redis is flushed and restarted, and Postgres is restarted, at seeded moments. `--only worker_kills,flushes`
names the faults that happen; without it all do.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import verdict
from chaos.breaks import Pauses, fail_calls, lose_answers, moments
from chaos.house import SENDERS, House
from chaos.plan import PLANS, Plan
from chaos.record import Record
from chaos.traffic import (
    PROBED,
    handed_over,
    keyed_requests,
    store_campaigns,
    store_keyed,
    store_unkeyed,
    until_it_works,
)
from chaos.verdict import Course
from sqlalchemy.exc import SQLAlchemyError

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER
from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

pytestmark = pytest.mark.long

log = logging.getLogger(__name__)

RECOVERY_SECONDS = 30
"""So soon after the last fault everything is as fast as before the first."""


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Plan:
    """How hard the chaos is this time."""
    plan = PLANS[request.config.getoption("--chaos")]
    only = request.config.getoption("--only")
    return replace(plan, faults=plan.faults.only(only)) if only else plan


@pytest.fixture
def wecom() -> Iterator[SimulatorControl]:
    """A local WeCom."""
    with running_simulator() as simulator:
        simulator.change_settings(latency=0.02, latency_jitter=0.03)
        yield simulator


@pytest.fixture
def house(tmp_path: Path, wecom: SimulatorControl, plan: Plan, seed: int) -> Iterator[House]:
    """Everything that breaks; every other time calls to WeCom are encrypted and go through a tunnel."""
    tls = seed % 2 == 1
    house = House(tmp_path / "wecom", wecom, tmp_path, plan.connections, plan.faults.quiet_window, tls=tls)
    yield house
    house.close()


@pytest.mark.timeout(1800)
def test_no_message_is_lost_doubled_or_dropped_whatever_breaks(
    house: House,
    wecom: SimulatorControl,
    plan: Plan,
    seed: int,
    eventually: Callable[..., None],
) -> None:
    chance = random.Random(seed)
    requests = keyed_requests(plan.traffic, chance)
    handed = handed_over(plan.traffic, requests)
    record, producer = Record(wecom), house.producer()
    house.workers = [house.start(WORKER) for _ in range(plan.workers)]
    house.beats = [house.start(BEAT) for _ in range(2)]
    _seconds_to_send(house, producer, record, "warm-up", 1, eventually)
    calm = _seconds_to_send(house, producer, record, "before", plan.traffic.probe, eventually)
    # A clock that jumps ends the leases of what is not settled yet.
    eventually(lambda: _all_sent(house.ledger))
    window = house.begin_a_quiet_window_in(plan.quiet_after)
    clock_shift = wecom.now() - time.time()
    fail_calls(wecom, plan.faults)
    losses = lose_answers(house, plan.faults, seed)
    pauses = Pauses(house.producer(), wecom.base_url, plan)
    programs = [
        threading.Thread(target=store_campaigns, args=(house.producer(), plan.traffic)),
        threading.Thread(target=store_keyed, args=(producer, requests)),
        threading.Thread(target=store_unkeyed, args=(house.producer(), plan.traffic)),
        pauses,
    ]
    for program in programs:
        program.start()

    begun = len(record.read())
    log.info("the faults begin")
    for event, at in moments(house, plan, chance, len(handed.promised)):
        eventually(lambda at=at: house.start_again_what_ended() and wecom.counters().deliveries >= begun + at, 120)
        log.info("after %d deliveries: %s", at, event.__name__)
        until_it_works(event)
    for program in programs:
        program.join()
    log.info("everything is stored, and the last fault is over")
    wecom.clear_faults()
    house.heal()
    # The last fault was now.
    after = _seconds_to_send(house, producer, record, "after", plan.traffic.probe, eventually)
    log.info("%d messages took %.1f s before the first fault, %.1f s after the last", plan.traffic.probe, calm, after)
    until = time.monotonic() + plan.left_seconds
    while verdict.lost(handed, record.read()) and time.monotonic() < until:
        house.start_again_what_ended()
        time.sleep(0.2)
    log.info("everything has arrived; %s", wecom.counters())
    log.info("seen and lost: %s", [(rule.seen, rule.fired) for rule in losses])
    log.info("arrived before and after the quiet window: %s", verdict.waited_for_the_window(window, record.read()))
    log.info("left of campaigns when they were paused: %s", [pause.left for pause in pauses.times])

    course = Course(handed, window, pauses.times, house.way_to_wecom.requests, clock_shift, record.read())
    found = verdict.faults(course, house.ledger)
    assert not found, found
    eventually(lambda: house.start_again_what_ended() and _all_sent(house.ledger), 60)
    assert all(rule.fired for rule in losses)
    assert after <= RECOVERY_SECONDS + calm, f"{after:.1f} s after the last fault, {calm:.1f} s before the first"


def _seconds_to_send(
    house: House, producer: Producer, record: Record, mark: str, messages: int, eventually: Callable[..., None]
) -> float:
    """Send messages to members of their own, behind nothing, and tell how long it takes until all are served."""
    members = {f"{PROBED}{mark}-{n}" for n in range(messages)}
    began = time.monotonic()
    requests = [
        SendRequest("hr", Text(content=f"Probe {member}"), users=(member,), urgent=True, idempotency_key=member)
        for member in sorted(members)
    ]
    until_it_works(lambda: producer.send_many(requests))

    def all_arrived() -> bool:
        house.start_again_what_ended()
        record.read()
        return members <= record.members

    eventually(all_arrived, 300)
    return time.monotonic() - began


def _all_sent(ledger: Ledger) -> bool:
    try:
        return all(ledger.history.counts(sender).keys() <= {State.SENT} for sender in SENDERS)
    except SQLAlchemyError:
        return False
