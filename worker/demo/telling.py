"""How the demo speaks: headings, tables, and one message's history as a person reads it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Styled

from worker.demo.checks import Check
from worker.ledger import MessageStatus, State

WIDTH = 100
BEIJING = timezone(timedelta(hours=8), "Beijing")
NAMES_SHOWN = 3


def open_console() -> Console:
    """Return a console of at most WIDTH columns, whether or not it is a terminal."""
    console = Console(highlight=False)
    return Console(highlight=False, width=min(console.width, WIDTH) if console.is_terminal else WIDTH)


def clock_time(moment: datetime) -> str:
    """Write a moment as a clock in Beijing shows it."""
    return f"{moment.astimezone(BEIJING):%H:%M:%S}"


def in_short(reason: str) -> str:
    """Leave out what WeCom adds to its words for its own support."""
    return reason.partition(", hint:")[0]


class Narrator:
    """Tells the acts in order."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._act = 0

    def act(self, title: str, meaning: str) -> None:
        """Open an act: its heading, and why it matters."""
        self._act += 1
        self.console.print(f"\n[bold cyan]{self._act}. {title}[/]")
        self.console.print(meaning, style="dim")

    def say(self, sentence: str) -> None:
        """Tell one thing that has happened."""
        self.console.print(Padding(Styled(sentence), (0, 0, 0, 2), expand=False))

    def command(self, line: str) -> None:
        """Show a command to copy: on one line, however long."""
        self.console.print(Styled(f"      {line}"), soft_wrap=True)

    def table(self, rows: Iterable[Sequence[str]], *headings: str) -> None:
        """Show a few figures."""
        table = Table(box=None, show_header=bool(headings), header_style="dim", pad_edge=True, padding=(0, 3, 0, 1))
        for place in range(len(headings) or 2):
            table.add_column(headings[place] if headings else "")
        for row in rows:
            table.add_row(*(Styled(cell) for cell in row))
        self.console.print(table)

    def invalid_recipients(self, invalid: Mapping[str, Sequence[str]]) -> None:
        """Show how many were not served, by kind, and who for example."""
        words = {"user": "no such member, or not visible to the app", "unlicensed": "without an interface licence"}
        self.table(
            (
                (str(len(names)), words.get(kind, kind), ", ".join(names[:NAMES_SHOWN]) + ", ...")
                for kind, names in invalid.items()
            ),
            "recipients",
            "why",
            "for example",
        )

    def history(self, status: MessageStatus) -> None:
        """Show what one message went through."""
        rows = [(clock_time(status.requested_at), "accepted and stored", "")]
        rows += [
            (
                clock_time(attempt.at),
                f"attempt {attempt.attempt}: {attempt.category}",
                f"{attempt.errcode}: {in_short(attempt.reason)}" if attempt.errcode else attempt.reason,
            )
            for attempt in status.attempts
        ]
        if status.sent_at is not None:
            rows.append((clock_time(status.sent_at), "sent", f"msgid {(status.msgid or '')[:24]}..."))
        if status.recalled_at is not None:
            rows.append((clock_time(status.recalled_at), "recalled", ""))
        self.table(rows, "Beijing", "what", "why")

    def checks(self, checks: Sequence[Check]) -> bool:
        """Show each claim with its verdict and return whether all hold."""
        for check in checks:
            self.console.print(
                Styled(f"  {'✓' if check.holds else '✗'} {check.claim}", "green" if check.holds else "red")
            )
            for difference in check.differences[:NAMES_SHOWN]:
                self.console.print(Styled(f"      {difference}"))
            if len(check.differences) > NAMES_SHOWN:
                self.console.print(f"      and {len(check.differences) - NAMES_SHOWN} more")
        return all(check.holds for check in checks)


def states_in_words(counts: Mapping[State, int]) -> str:
    """Write how many messages stand where: `2,510 sent, 250 failed`."""
    return ", ".join(f"{number:,} {state}" for state, number in sorted(counts.items()))
