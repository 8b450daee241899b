"""How much is sent, and what breaks meanwhile."""

from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True)
class Traffic:
    """What programs hand over, to each sender its share.

    Attributes:
        messages: with idempotency keys, many in a transaction, each to a member of its own; a tenth are urgent.
        unkeyed: by a program that knows no idempotency keys, one in a transaction.
        near_members: members whom every sender addresses often.
        near_messages: how many messages each of them gets from each sender; 30 a minute are shown.
        files: messages with one of a few files.
        campaign: recipients of the campaign that each sender has.
        probe: messages that measure how fast everything is before the first fault and after the last.
    """

    messages: int
    unkeyed: int
    near_members: int
    near_messages: int
    files: int
    campaign: int
    probe: int


@dataclass(frozen=True)
class Faults:
    """What breaks; without arguments nothing does.

    Attributes:
        worker_kills: a worker is killed, and another starts.
        beat_kills: the same with a beat.
        flushes: Redis is emptied.
        redis_restarts: Redis is killed, and starts again.
        postgres_restarts: the same with Postgres.
        cut_connections: all connections to Postgres or to Redis end at once.
        silences: Postgres or Redis says nothing for some seconds, with living connections.
        silent_commits: so many COMMITs are carried out on connections that never say anything again.
        lost_commits: how likely the answer of a worker's COMMIT is lost, or the COMMIT itself, half and half.
        lost_commits_of_programs: the same for programs that send.
        lost_scripts: the same for scripts of Redis.
        failing_calls: WeCom fails a tenth of all calls, in every way there is.
        lost_by_proxy: how likely the proxy before WeCom loses an answer, or a call, half and half; tunnels, where there
            are any, are refused now and then.
        slow_answers: a tenth of WeCom's answers take 0.3 to 2 s, and so do half of the uploads.
        campaign_pauses: how often each campaign is paused in the middle, and resumed.
        quiet_window: how many seconds a quiet window lasts that begins in the middle.
    """

    worker_kills: int = 0
    beat_kills: int = 0
    flushes: int = 0
    redis_restarts: int = 0
    postgres_restarts: int = 0
    cut_connections: int = 0
    silences: int = 0
    silent_commits: int = 0
    lost_commits: float = 0
    lost_commits_of_programs: float = 0
    lost_scripts: float = 0
    failing_calls: bool = False
    lost_by_proxy: float = 0
    slow_answers: bool = False
    campaign_pauses: int = 0
    quiet_window: int = 0

    def only(self, names: str) -> Self:
        """Return the same with nothing but the faults named, with commas between them."""
        wanted = [name.strip() for name in names.split(",") if name.strip()]
        unknown = set(wanted) - {field.name for field in fields(self)}
        if unknown:
            raise ValueError(f"there is no fault {', '.join(sorted(unknown))}")
        return replace(type(self)(), **{name: getattr(self, name) for name in wanted})


@dataclass(frozen=True)
class Plan:
    """One course of events.

    Attributes:
        traffic: what is sent.
        faults: what breaks.
        workers: worker processes.
        connections: of each of them to WeCom; few, so that messages wait behind others.
        quiet_after: seconds from the first message to the quiet window.
        pause_seconds: how long a campaign stays paused.
        left_seconds: until everything has arrived after the last fault; members near their limit wait for minutes.
    """

    traffic: Traffic
    faults: Faults
    workers: int
    connections: int
    quiet_after: int
    pause_seconds: float
    left_seconds: float


# Everything passes through proxies that take it apart, over few connections, and a tenth of it waits for slow answers.
# So many messages keep all of it busy while the faults happen; more of them would add time and meet no other faults.
PLANS = {
    "short": Plan(
        Traffic(messages=600, unkeyed=60, near_members=2, near_messages=33, files=30, campaign=90, probe=100),
        Faults(
            worker_kills=2,
            beat_kills=1,
            flushes=1,
            redis_restarts=1,
            postgres_restarts=1,
            cut_connections=3,
            silences=1,
            lost_commits=0.04,
            lost_commits_of_programs=0.06,
            lost_scripts=0.04,
            failing_calls=True,
            lost_by_proxy=0.02,
            slow_answers=True,
            campaign_pauses=1,
            quiet_window=8,
        ),
        workers=2,
        connections=24,
        quiet_after=6,
        pause_seconds=4,
        left_seconds=180,
    ),
    "long": Plan(
        Traffic(messages=4_500, unkeyed=600, near_members=4, near_messages=65, files=200, campaign=700, probe=500),
        Faults(
            worker_kills=20,
            beat_kills=4,
            flushes=3,
            redis_restarts=3,
            postgres_restarts=3,
            cut_connections=12,
            silences=3,
            silent_commits=3,
            lost_commits=0.03,
            lost_commits_of_programs=0.05,
            lost_scripts=0.03,
            failing_calls=True,
            lost_by_proxy=0.02,
            slow_answers=True,
            campaign_pauses=2,
            quiet_window=20,
        ),
        workers=3,
        connections=40,
        quiet_after=20,
        pause_seconds=6,
        left_seconds=240,
    ),
}
