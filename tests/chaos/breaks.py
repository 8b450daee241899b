"""What breaks: processes, servers, connections and answers, at seeded moments."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos.house import SENDERS, House
from chaos.plan import Faults, Plan
from chaos.record import Record
from chaos.traffic import PATIENCE, campaign_members, campaign_name, until_it_works
from faults.http import call
from faults.postgres import statement
from faults.redis import any_script
from faults.rules import Action, Rule

from worker import Producer
from worker.processes import BEAT, WORKER
from worker.simulator.control import SimulatorControl

SEND = call("POST", "/cgi-bin/message/send")
COMMIT = statement("commit")
TUNNEL_SHARE = 0.2
"""There are much fewer tunnels than calls."""
SILENT_SECONDS = 4


@dataclass(frozen=True)
class Pause:
    """A time in which a campaign was paused, in Unix seconds of WeCom's clock; `left` had not arrived before."""

    agentid: int
    begin: float
    end: float
    left: int


def moments(house: House, plan: Plan, chance: random.Random, deliveries: int) -> list[tuple[Callable[[], None], int]]:
    """What breaks at one moment each, and after how many deliveries, in order."""
    faults = plan.faults
    servers = (house.postgres, house.postgres_of_programs, house.redis)

    def kill_a_worker() -> None:
        house.kill_one(house.workers, WORKER, chance)

    def kill_a_beat() -> None:
        house.kill_one(house.beats, BEAT, chance)

    def restart_redis() -> None:
        house.restart("redis")

    def restart_postgres() -> None:
        house.restart("postgres")

    def cut_all_connections_to_one_server() -> None:
        chance.choice(servers).cut_all()

    def silence_one_server() -> None:
        silent = chance.choice(servers)
        silent.silence()
        time.sleep(SILENT_SECONDS)
        silent.resume()

    def silence_a_commit() -> None:
        house.postgres.rules.add(Rule(COMMIT, Action.WITHHOLD_ANSWER, times=1))

    breaks: list[Callable[[], None]] = [
        *[kill_a_worker] * faults.worker_kills,
        *[kill_a_beat] * faults.beat_kills,
        *[house.flush_redis] * faults.flushes,
        *[restart_redis] * faults.redis_restarts,
        *[restart_postgres] * faults.postgres_restarts,
        *[cut_all_connections_to_one_server] * faults.cut_connections,
        *[silence_one_server] * faults.silences,
        *[silence_a_commit] * faults.silent_commits,
    ]
    chance.shuffle(breaks)
    at = sorted(chance.randrange(deliveries * 9 // 10) for _ in breaks)
    return list(zip(breaks, at, strict=True))


def lose_answers(house: House, faults: Faults, seed: int) -> list[Rule]:
    """Lose answers, and what was asked, now and then from now on; return the rules, which count."""
    shares = [
        (house.postgres, COMMIT, faults.lost_commits),
        (house.postgres_of_programs, COMMIT, faults.lost_commits_of_programs),
        (house.redis, any_script, faults.lost_scripts),
        (house.way_to_wecom, SEND, faults.lost_by_proxy),
    ]
    if faults.lost_by_proxy and house.tunnels is not house.way_to_wecom:
        shares.append((house.tunnels, lambda request: request.kind == "CONNECT", TUNNEL_SHARE))
    return [
        proxy.rules.add(
            Rule(matches, action, probability=share / 2, seed=seed + 1000 * number, reset=action is Action.CUT)
        )
        for proxy, matches, share in shares
        if share
        for number, action in enumerate((Action.LOSE_ANSWER, Action.CUT))
    ]


def fail_calls(wecom: SimulatorControl, faults: Faults) -> None:
    """Have WeCom fail a tenth of all calls, in every way there is, and answer another tenth slowly."""
    wecom.clear_faults(seed=7)
    if faults.slow_answers:
        for seconds, probability in ((0.3, 0.05), (1.0, 0.03), (2.0, 0.02)):
            wecom.add_fault("latency", endpoint="send", probability=probability, seconds=seconds)
        wecom.add_fault("latency", endpoint="upload", probability=0.5, seconds=2.0)
    if not faults.failing_calls:
        return
    for kind, probability in (("reset_before", 0.02), ("reset_after", 0.02), ("cut", 0.01), ("hang_after", 0.003)):
        wecom.add_fault(kind, endpoint="send", probability=probability)
    wecom.add_fault("hang_before", endpoint="send", probability=0.003)
    wecom.add_fault("http", endpoint="send", probability=0.02, status=502)
    wecom.add_fault("http", endpoint="send", probability=0.01, status=503, processed=True)
    wecom.add_fault("errcode", endpoint="send", probability=0.01, errcode=-1)
    wecom.add_fault("token_expired", endpoint="send", probability=0.002)
    wecom.add_fault("reset_before", endpoint="gettoken", probability=0.1)


class Pauses(threading.Thread):
    """Pauses each campaign in the middle, and lets it go on; `times` tells when."""

    def __init__(self, producer: Producer, base_url: str, plan: Plan) -> None:
        super().__init__(name="pauses")
        self._producer = producer
        self._base_url = base_url
        self._plan = plan
        self.times: list[Pause] = []

    def run(self) -> None:
        with SimulatorControl(self._base_url) as wecom:
            record = Record(wecom)
            for sender, agentid in SENDERS.items():
                for number in range(self._plan.faults.campaign_pauses):
                    share = (1 + number) / (2 + self._plan.faults.campaign_pauses)
                    members = set(campaign_members(self._plan.traffic, sender))
                    self._wait_for(record, members, share)
                    self._pause(wecom, sender, agentid, len(members - record.members))

    def _wait_for(self, record: Record, members: set[str], share: float) -> None:
        until = time.monotonic() + PATIENCE
        while len(members & record.members) < share * len(members) and time.monotonic() < until:
            time.sleep(0.1)
            record.read()

    def _pause(self, wecom: SimulatorControl, sender: str, agentid: int, left: int) -> None:
        name = campaign_name(sender)
        until_it_works(lambda: self._producer.pause_campaign(name, sender=sender))
        begin = wecom.now()
        time.sleep(self._plan.pause_seconds)
        self.times.append(Pause(agentid, begin, wecom.now(), left))
        until_it_works(lambda: self._producer.resume_campaign(name, sender=sender))
