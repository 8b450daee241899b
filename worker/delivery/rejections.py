"""Carries out what came as a Celery task; nothing of it is lost: what is refused is kept, with the reason."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import Connection

from worker.delivery.office import Office
from worker.delivery.task_requests import Desk, Due, TaskRequest, read
from worker.ledger import InDoubt, LedgerError, RejectedRequest, is_passing, transact
from worker.messages import InvalidMessage

log = logging.getLogger(__name__)

REJECTED_KEPT = timedelta(days=30)
"""How long a person has to decide about what was refused; it holds message texts, so it is not kept for ever."""
PATIENCE_SECONDS = 60.0
"""How long a task waits in its worker for Postgres to come back; less than a broker waits for its answer."""
LOOK_AGAIN_SECONDS = 1.0
LONGEST_REASON = 1000
LONGEST_NAME = 300
"""Of a request in the log: its task and its id."""


def carry_out(office: Office, request: TaskRequest) -> bool:
    """Write what a program asks for and ring, or keep the request as rejected.

    Returns:
        False if Postgres did not come back in time: nothing was done, and the task is to be handed over again.
    """

    def carry_out_or_keep() -> Due:
        try:
            step = read(request, Desk(office.ledger, office.acceptance))
            if step.beforehand:
                step.beforehand()
            return transact(office.ledger.engine, step.write, InDoubt("the broker hands the task over again"))
        except Exception as error:
            if is_passing(error):
                raise
            # Whatever is wrong with it, a request is not lost.
            _keep(office, request, reason_of(error))
            return {}

    return _patiently(office, request, carry_out_or_keep)


def reject(office: Office, request: TaskRequest) -> bool:
    """Keep what no task can be made of, which a worker hands on as `wecom.reject`; return as `carry_out`."""
    refused, reason = _handed_on(request)

    def keep() -> Due:
        _keep(office, refused, reason)
        return {}

    return _patiently(office, request, keep)


def retry(desk: Desk, rejected: RejectedRequest) -> str | None:
    """Try a rejected request again; the dispatcher finds what it wrote.

    Of several that try the same request at once, one succeeds.

    Returns:
        None if it was carried out, otherwise the reason why it was not, which is kept with it.
    """
    try:
        step = read(_request_of(rejected), desk)
        if step.beforehand:
            step.beforehand()
        taken = False

        def take_and_write(connection: Connection) -> str | None:
            # Perhaps taken by an earlier try, whose COMMIT got no answer; what is written twice is stored once.
            nonlocal taken
            taken = desk.ledger.rejected.take(connection, rejected) or taken
            if not taken:
                return "somebody else has decided about it meanwhile"
            step.write(connection)
            return None

        return transact(desk.ledger.engine, take_and_write, InDoubt("try it again if `wecom rejected list` names it"))
    except Exception as error:
        if is_passing(error):
            raise
        reason = reason_of(error)
        desk.ledger.rejected.reject_again(rejected, reason)
        return reason


def reason_of(error: Exception) -> str:
    """Say in one line why a request cannot be carried out."""
    if isinstance(error, InvalidMessage | LedgerError):
        return _in_one_line(str(error), LONGEST_REASON)
    log.error("a request met an error nobody foresaw", exc_info=error)
    return _in_one_line(f"{type(error).__name__}: {error}", LONGEST_REASON)


def _handed_on(request: TaskRequest) -> tuple[TaskRequest, str]:
    """Return what a `wecom.reject` is about, and the reason; one that no worker sent is about itself."""
    match request.args, request.kwargs:
        case (
            [],
            {
                "reason": str(reason),
                "request": {
                    "task": str(task),
                    "task_id": str(task_id),
                    "args": list(args),
                    "kwargs": dict(kwargs),
                    "at": at,
                    **unknown,
                },
                **others,
            },
        ) if not unknown and not others and isinstance(at, str | None):
            return TaskRequest(task, task_id, args, kwargs, at), _in_one_line(reason, LONGEST_REASON)
        case _:
            return request, "task: only workers send wecom.reject, and not with such arguments"


def _request_of(rejected: RejectedRequest) -> TaskRequest:
    arguments = rejected.read_arguments()
    if arguments is None:
        raise InvalidMessage("arguments: they were too long to be kept whole; send the request again")
    return TaskRequest(rejected.task, rejected.task_id, arguments["args"], arguments["kwargs"], arguments["at"])


def _keep(office: Office, request: TaskRequest, reason: str) -> None:
    arguments = {"args": list(request.args), "kwargs": dict(request.kwargs), "at": request.at}
    office.ledger.rejected.keep(request.task, request.task_id, arguments, reason)
    log.error("%s is refused and kept (`wecom rejected list`): %s", _name(request), reason)


def _name(request: TaskRequest) -> str:
    return _in_one_line(f"{request.task} {request.task_id}", LONGEST_NAME)


def _in_one_line(words: str, longest: int) -> str:
    """Make words from outside ones that a log or a terminal can take: what is not printable is spelt out."""
    line = " ".join(words.split())[:longest]
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in line
    )


def _patiently(office: Office, request: TaskRequest, step: Callable[[], Due]) -> bool:
    """Do a step and ring for what it wrote; while Postgres is away, wait.

    Without Postgres a worker has nothing else to do, and a task that waits here is still the broker's: it is not lost
    if this process dies, and no worker fetches more of them than it has threads.
    """
    began = time.monotonic()
    while True:
        try:
            due = step()
            office.absence.ended()
            break
        except Exception as error:
            if not is_passing(error):
                raise
            office.absence.met(error)
            log.debug("%s waits for Postgres", _name(request))
            if office.stopping.wait(LOOK_AGAIN_SECONDS) or time.monotonic() - began >= PATIENCE_SECONDS:
                return False
    for sender, messages in due.items():
        office.bell.ring(sender, -(-messages // office.settings.chunk))
    return True
