"""The demo from the first act to the verdict."""

import os
import shlex
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from rich.console import Console

from worker.demo.audience import UNLUCKY_MEMBER, Promise
from worker.demo.checks import Evidence, check
from worker.demo.fan_out import fan_out
from worker.demo.stage import SENDER, WORKERS, Stage, StageError, set_up
from worker.demo.telling import BEIJING, Narrator, clock_time
from worker.ledger import MessageStatus, State
from worker.messages import Text
from worker.processes import wecom_command

ARRIVAL_SECONDS = 20
NAMED_SERVERS = ("WECOM_DATABASE_URL", "WECOM_REDIS_URL", "WECOM_BROKER_URL")

WHAT_THEN = {
    "transient": "WeCom was busy, tried again within seconds",
    "rate_limited": "the sender is parked, its messages wait",
    "uncertain": "sent or not? repeated while WeCom would notice",
    "recipient": "failed: nobody can be served, then or later",
}


def perform(home: Path, console: Console) -> bool:
    """Play all acts in a directory of the demo's own; return whether the ledger and the local WeCom agree.

    Raises:
        StageError, EmbeddedError: the demo cannot be played; the text says why.
    """
    narrator, started = Narrator(console), time.monotonic()
    tomorrow = datetime.now(BEIJING) + timedelta(days=1)
    opening = tomorrow.replace(hour=10, minute=10, second=0, microsecond=0)
    narrator.act(
        "Servers",
        f"A real Postgres and a real Redis, {WORKERS} Celery workers, beat, and a local WeCom that answers like the "
        "documents say. Nothing is mocked, and nothing leaves this machine.",
    )
    if named := [name for name in NAMED_SERVERS if os.environ.get(name)]:
        narrator.say(f"{' and '.join(named)} of your environment: the demo does not touch what is named there.")
    with set_up(home, opening) as stage:
        narrator.say(
            f"all up after {time.monotonic() - started:.1f} s, data in {_short(home)}; their clocks show 10:10, so "
            "that no quiet window (act 8) comes in between"
        )
        narrator.say(f"a program needs two lines: wecom = Producer(); wecom.send('{SENDER}', Text(...), users=[...])")
        performance = Performance(stage, narrator)
        holds = performance.play(opening)
    narrator.say("")
    verdict = "every figure agrees" if holds else "the figures differ, see above"
    narrator.say(f"{verdict}; {time.monotonic() - started:.0f} s in all, nothing is left running")
    narrator.say(f"the processes' logs: {_short(stage.logs)}")
    narrator.say("look around in the demo's ledger yourself:")
    # An empty variable counts as unset, so that the demo's own servers are looked at.
    apart = "".join(f"{name}= " for name in named)
    narrator.command(f"{apart}WECOM_HOME={shlex.quote(_short(home))} {wecom_command()} status {performance.unlucky}")
    return holds


def _short(path: Path) -> str:
    """Write a path as short as it can be written here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


class Performance:
    """The acts after the stage is set."""

    def __init__(self, stage: Stage, narrator: Narrator) -> None:
        self._stage = stage
        self._narrator = narrator
        self._promises: list[Promise] = []

    def play(self, opening: datetime) -> bool:
        """Play every act and return whether all checks hold."""
        greeting = self.single_texts()
        self.many_texts()
        self.outcomes()
        self.left_out()
        self.one_history()
        self.recall(greeting)
        urgent, waiting, quiet_until = self.quiet_window(opening)
        return self.verdict(greeting, urgent, waiting, quiet_until)

    @property
    def unlucky(self) -> UUID:
        """The message with the longest history."""
        return next(promise.id for promise in self._promises if UNLUCKY_MEMBER in promise.users)

    def single_texts(self) -> UUID:
        """Send two texts; return the id of the first."""
        self._narrator.act(
            "Two single texts",
            "A send returns an id as soon as the text is a row in Postgres. Later the row holds what WeCom answered: "
            "the msgid, and whoever was not served although the answer was ok.",
        )
        greeting = self._send("The canteen serves dumplings today. 今天食堂有饺子。", "zhangsan")
        mixed = self._send("Please confirm your bank account.", "lisi", "ghost-li")
        for message in (greeting, mixed):
            status = self._arrived(message)
            served = ", ".join(status.recipients.users)
            self._narrator.say(f"to {served}: {status.state}, msgid {(status.msgid or '')[:24]}...")
            if status.invalid:
                self._narrator.say(f"  WeCom said ok, but did not serve: {', '.join(status.invalid.users)}")
        return greeting

    def many_texts(self) -> None:
        """Send the fan-out."""
        self._narrator.act(
            "3,000 personalised texts, and a WeCom that misbehaves",
            "On the way the local WeCom ends the access token, is busy (-1), fails with HTTP 502, takes a message and "
            "resets the connection (sent or not? nobody can know), and says 45009, too many calls. 250 texts name "
            "nobody who can be served: members who left, and members without a licence.",
        )
        promises, seconds = fan_out(self._stage, self._narrator)
        self._promises += promises
        in_one_second = Counter(int(delivery.at) for delivery in self._stage.simulator.deliveries())
        self._narrator.say(
            f"done in {seconds:.1f} s with all retries; {max(in_one_second.values()):,} in the busiest second"
        )

    def outcomes(self) -> None:
        """Show what became of everything so far."""
        self._narrator.act(
            "Outcomes",
            "Every attempt that was no plain success is kept with its reason. Busy and 5xx are tried again, a refused "
            "token is replaced within the call, and a repetition has the same bytes, so that WeCom's duplicate check "
            "shows it once.",
        )
        states = self._stage.ledger.history.counts(SENDER)
        counters = self._stage.simulator.counters()
        self._narrator.table([(f"{number:,}", state) for state, number in states.items()], "messages", "state")
        self._narrator.table(
            [
                (f"{number:,}", f"{category}{f' ({errcode})' if errcode else ''}", WHAT_THEN.get(category, ""))
                for (category, errcode), number in self._stage.demonstration.attempts().items()
            ],
            "attempts",
            "category",
            "what then",
        )
        self._narrator.table(
            (
                (f"{counters.calls.get('send', 0):,}", "calls of message/send"),
                (f"{counters.duplicates:,}", "repetitions that WeCom's duplicate check suppressed"),
                (f"{counters.calls.get('gettoken', 0):,}", f"calls of gettoken by {WORKERS} workers of many threads"),
            ),
            "in the local WeCom's own count",
            "",
        )

    def left_out(self) -> None:
        """Show who was not served."""
        self._narrator.act(
            "Invalid recipients",
            "WeCom tells who was not served, once, in its answer. The ledger keeps it, so that somebody can be asked.",
        )
        self._narrator.invalid_recipients(self._stage.demonstration.invalid_recipients())

    def one_history(self) -> None:
        """Show what one unlucky message went through."""
        self._narrator.act(
            "One message's history",
            f"The text to {UNLUCKY_MEMBER} was taken by WeCom, but the connection broke before the answer; then WeCom "
            "was busy. It was shown once.",
        )
        self._narrator.history(self._stage.producer.status(self.unlucky))

    def recall(self, message: UUID) -> None:
        """Take a sent message back."""
        self._narrator.act("A recall", "The dumplings are sold out. WeCom takes messages back for 24 hours.")
        self._stage.producer.recall(message)
        status = self._reached(message, State.RECALLED)
        in_record = [one for one in self._stage.simulator.deliveries() if one.recalled_at and one.msgid == status.msgid]
        self._narrator.say(f"to {', '.join(status.recipients.users)}: {status.state}")
        self._narrator.say(f"the local WeCom has {len(in_record)} recalled message of this msgid")

    def quiet_window(self, opening: datetime) -> tuple[UUID, UUID, datetime]:
        """Send an urgent and a normal text shortly before nine; return both ids and the end of the window."""
        self._narrator.act(
            "The quiet window",
            "At minute 0 and 30 everybody sends, and WeCom delivers late. So nothing that can wait goes out from 60 s "
            "before to 120 s after. We set the ledger's and the local WeCom's clock to 8:59:30 of the next day.",
        )
        nine = opening.replace(hour=9, minute=0) + timedelta(days=1)
        self._stage.set_clocks(nine - timedelta(seconds=30))
        urgent = self._send("Fire alarm drill: leave the building now.", "zhangsan", urgent=True)
        waiting = self._send("The monthly report is ready.", "lisi")
        arrived = self._arrived(urgent)
        self._narrator.say(f"urgent text: sent at {clock_time(arrived.sent_at or arrived.send_at)}")
        due = self._stage.producer.status(waiting)
        self._narrator.say(f"normal text: {due.state}, due at {clock_time(due.send_at)}, behind the window")
        self._narrator.say("both clocks go to its due time ...")
        self._stage.set_clocks(due.send_at)
        arrived = self._arrived(waiting)
        self._narrator.say(f"normal text: sent at {clock_time(arrived.sent_at or arrived.send_at)}")
        return urgent, waiting, nine + timedelta(seconds=120)

    def verdict(self, recalled: UUID, urgent: UUID, waiting: UUID, quiet_until: datetime) -> bool:
        """Compare the ledger with the record and say where they differ."""
        evidence = Evidence(
            promises=self._promises,
            entries=self._stage.demonstration.entries(),
            deliveries=self._stage.simulator.deliveries(),
            recalled=recalled,
            urgent=urgent,
            waiting=waiting,
            quiet_until=quiet_until,
            unmet_faults=[fault["kind"] for fault in self._stage.simulator.faults() if fault["fired"] < fault["times"]],
        )
        self._narrator.act(
            "The check",
            f"The ledger's {len(evidence.entries):,} messages against the {len(evidence.deliveries):,} deliveries that "
            "the local WeCom recorded on its own.",
        )
        return self._narrator.checks(check(evidence))

    def _send(self, content: str, *users: str, urgent: bool = False) -> UUID:
        message = self._stage.producer.send(SENDER, Text(content=content), users=users, urgent=urgent)
        self._promises.append(Promise(message, users, content))
        return message

    def _arrived(self, message: UUID) -> MessageStatus:
        return self._reached(message, State.SENT)

    def _reached(self, message: UUID, state: State) -> MessageStatus:
        """Wait until a message stands where it should."""
        until = time.monotonic() + ARRIVAL_SECONDS
        while (status := self._stage.producer.status(message)).state is not state:
            self._stage.require_alive()
            if time.monotonic() > until:
                raise StageError(
                    f"message {message} is {status.state} after {ARRIVAL_SECONDS} s, not {state} "
                    f"({status.error or 'no error'}); {self._stage.logs} may say why"
                )
            time.sleep(0.05)
        return status
