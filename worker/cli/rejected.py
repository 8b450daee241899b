"""`wecom rejected list|show|retry|remove`."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from worker.cli.ledger import opened_ledger
from worker.cli.output import json_option, print_facts, print_json
from worker.cli.times import when
from worker.delivery.office import acceptance_rules
from worker.delivery.rejections import retry as retry_one
from worker.delivery.task_requests import Desk
from worker.ledger import Ledger, LedgerError, RejectedRequest
from worker.settings import settings

AT_ONCE = 100

numbers_argument = click.argument("numbers", metavar="ID...", type=int, nargs=-1)
all_option = click.option("--all", "every", is_flag=True, help="All that wait.")


@click.group
def rejected() -> None:
    """Requests of programs that know only Celery, which were refused.

    They are kept for 30 days with what they said. Correct what was wrong, for instance add the sender, then `retry`;
    what nobody needs, `remove`.
    """


@rejected.command("list")
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many to list.")
@json_option
def list_them(*, most: int, as_json: bool) -> None:
    """List the requests that wait, the oldest first."""
    with opened_ledger() as ledger:
        waiting, count = ledger.rejected.list(most), ledger.rejected.count()
    if as_json:
        print_json({"count": count, "requests": [_facts(one) for one in waiting]})
        return
    if not waiting:
        click.echo("No request was rejected.")
        return
    print_facts((str(one.id), f"{_name(one)}, {_when(one)}: {one.reason}") for one in waiting)
    if count > len(waiting):
        click.echo(f"{count - len(waiting)} more; --most {count} lists them.")


@rejected.command
@click.argument("number", metavar="ID", type=int)
@json_option
def show(number: int, *, as_json: bool) -> None:
    """Show a request with all it said."""
    with opened_ledger() as ledger:
        found = _found(ledger, number)
    if as_json:
        print_json(_facts(found) | {"arguments": found.arguments})
        return
    print_facts(
        [
            ("Request", str(found.id)),
            ("Task", _name(found)),
            ("Task id", found.task_id),
            ("Rejected", f"{_when(found)}, {found.rejections} times" if found.rejections > 1 else _when(found)),
            ("Reason", found.reason),
            ("Arguments", found.arguments),
        ]
    )


@rejected.command
@numbers_argument
@all_option
def retry(numbers: tuple[int, ...], *, every: bool) -> None:
    """Carry requests out after all; what is refused again stays, with the new reason.

    The exit status is 1 if a request was refused again.
    """
    refused = 0
    with opened_ledger() as ledger:
        desk = Desk(ledger, acceptance_rules(settings()))
        for request in _chosen(ledger, numbers, every=every):
            reason = retry_one(desk, request)
            refused += reason is not None
            click.echo(f"{request.id}: {reason or 'carried out'}")
    if refused:
        raise click.exceptions.Exit(1)


@rejected.command
@numbers_argument
@all_option
def remove(numbers: tuple[int, ...], *, every: bool) -> None:
    """Remove requests for good, with what they said."""
    with opened_ledger() as ledger:
        for request in _chosen(ledger, numbers, every=every):
            ledger.rejected.remove(request.id)
            click.echo(f"{request.id}: removed")


def _chosen(ledger: Ledger, numbers: tuple[int, ...], *, every: bool) -> Iterator[RejectedRequest]:
    if every == bool(numbers):
        raise click.UsageError("name requests by their ids, or say --all")
    if numbers:
        yield from [_found(ledger, number) for number in dict.fromkeys(numbers)]
        return
    last = 0
    while portion := ledger.rejected.list(AT_ONCE, after=last):
        yield from portion
        last = portion[-1].id


def _found(ledger: Ledger, number: int) -> RejectedRequest:
    found = ledger.rejected.find(number)
    if found is None:
        raise LedgerError(f"no rejected request has the id {number}; `wecom rejected list` names them")
    return found


def _facts(one: RejectedRequest) -> dict[str, Any]:
    return {
        "id": one.id,
        "task": one.task,
        "task_id": one.task_id,
        "reason": one.reason,
        "rejected_at": one.rejected_at,
        "rejections": one.rejections,
    }


def _name(one: RejectedRequest) -> str:
    return one.task or "no task"


def _when(one: RejectedRequest) -> str:
    return when(one.rejected_at, datetime.now(UTC))
