"""Every Celery task; each only calls what does the work."""

import gc
import logging
from functools import cache
from typing import Any
from uuid import UUID

from celery import Task
from celery.signals import beat_init, setup_logging, task_postrun, task_prerun, worker_init, worker_shutting_down

from worker.celery import app
from worker.delivery.accept import accept, check
from worker.delivery.dispatch import dispatch
from worker.delivery.office import Office, open_office
from worker.delivery.reap import reap
from worker.delivery.requests import SendRequest
from worker.delivery.serve import serve
from worker.embedded import EmbeddedError
from worker.encryption import SecretKeyError
from worker.ledger import PASSING_FAULTS, LedgerError
from worker.liveness import LifeSign, LivenessError, WorkUnderWay
from worker.logs import log_to_standard_error
from worker.messages import InvalidMessage
from worker.settings import settings, unknown_settings_in_one_line

log = logging.getLogger(__name__)

RETRY_SECONDS = 10
"""How long a request waits for Postgres to come back before it is tried again; long ETAs run twice on Redis."""
GARBAGE_THRESHOLD = 10_000
"""New objects between two looks for garbage; a chunk of messages makes about as many, and nearly none are cycles."""

under_way = WorkUnderWay()
"""The tasks this process works on."""


@cache
def office() -> Office:
    """Return what this worker process delivers with, opened once."""
    return open_office(settings(), lambda sender, slot: app.send_task("wecom.deliver", args=[sender, slot]))


@app.task(name="wecom.send", bind=True)
def send(task: Task[Any, Any], /, **arguments: Any) -> None:  # noqa: ANN401 - judged by SendRequest
    """Accept a message from a program that knows only Celery; its arguments are those of `SendRequest.from_json`."""
    # A broker may hand over the same task twice; its id then stands for the same message.
    arguments["idempotency_key"] = arguments.get("idempotency_key") or f"celery:{task.request.id}"
    try:
        request = SendRequest.from_json(**arguments, late_is_now=True)
        checked = check(request, office().acceptance)
        with office().ledger.engine.begin() as connection:
            accept(office().ledger, connection, [checked], office().acceptance)
    except (InvalidMessage, LedgerError, TypeError) as error:
        log.error("wecom.send %s is refused: %s", task.request.id, error)  # noqa: TRY400 - the sender's fault, not ours
        return
    except PASSING_FAULTS as error:
        raise task.retry(countdown=RETRY_SECONDS, max_retries=None, exc=error) from None
    office().bell.ring(request.sender)


@app.task(name="wecom.recall", bind=True)
def recall(task: Task[Any, Any], message_id: str) -> None:
    """Take a message back, for a program that knows only Celery."""
    try:
        statuses = office().ledger.recalls.request(UUID(message_id))
    except ValueError:
        log.error("wecom.recall %s is refused: %r is no message id", task.request.id, message_id)  # noqa: TRY400
        return
    except PASSING_FAULTS as error:
        raise task.retry(countdown=RETRY_SECONDS, max_retries=None, exc=error) from None
    for sender in {status.sender for status in statuses}:
        office().bell.ring(sender)


@app.task(name="wecom.deliver")
def deliver(sender: str, slot: int = 0) -> None:
    """Send what a sender has due."""
    serve(office(), sender, slot)


@app.task(name="wecom.dispatch")
def dispatch_task() -> None:
    """Ring for every sender that has something due."""
    dispatch(office())


@app.task(name="wecom.reap")
def reap_task() -> None:
    """Reopen what dead workers held."""
    reap(office())


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:  # noqa: ANN401 - Celery's signals pass what they like
    log_to_standard_error(settings().log_level)


@worker_init.connect
def _open_office(**_: Any) -> None:  # noqa: ANN401
    if warning := unknown_settings_in_one_line():
        log.warning("%s", warning.removeprefix("warning: "))
    try:
        office()
    except (LedgerError, SecretKeyError, EmbeddedError) as error:
        raise SystemExit(f"the worker cannot start: {error}") from None
    _collect_garbage_less_often()


def _collect_garbage_less_often() -> None:
    """Leave out of garbage collection what was loaded at the start and stays: a tenth of the CPU time of a send."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 20)


@worker_init.connect
@beat_init.connect
def _show_life(**_: Any) -> None:  # noqa: ANN401
    """Show life from the start, not from the first answer of the broker, so that Redis can be away meanwhile."""
    file = settings().liveness_file
    if file is None:
        return
    # By then the broker has given the bell to another worker and every lease has run out: whatever this process
    # still holds is no longer its own, and ending it costs nothing.
    stuck_seconds = app.conf.broker_transport_options["visibility_timeout"] + settings().lease_seconds
    try:
        LifeSign(file, under_way, stuck_seconds).start()
    except LivenessError as error:
        raise SystemExit(f"the process cannot start: {error}") from None


@task_prerun.connect
def _begin(**_: Any) -> None:  # noqa: ANN401
    under_way.begin()


@task_postrun.connect
def _end(**_: Any) -> None:  # noqa: ANN401
    under_way.end()


@worker_shutting_down.connect
def _stop_sending(**_: Any) -> None:  # noqa: ANN401
    """Calls under way finish; messages that are claimed but not sent go back at once."""
    office().stopping.set()
