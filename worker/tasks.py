"""Every Celery task; each only calls what does the work."""

import atexit
import gc
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

from celery import Task
from celery.exceptions import Reject
from celery.signals import beat_init, setup_logging, task_postrun, task_prerun, worker_init, worker_shutting_down
from sqlalchemy.exc import OperationalError

from worker.broker import given_again_after
from worker.celery import app
from worker.consumer import DUE_HEADER
from worker.delivery.dispatch import dispatch
from worker.delivery.office import Office, open_office
from worker.delivery.reap import reap
from worker.delivery.rejections import carry_out, reject
from worker.delivery.schedules import run_due_schedules
from worker.delivery.serve import serve
from worker.delivery.signs_of_life import SignsOfLife
from worker.delivery.task_requests import TaskRequest
from worker.embedded import EmbeddedError
from worker.encryption import SecretKeyError
from worker.ledger import LedgerError, is_passing, unreachable
from worker.liveness import LifeSign, LivenessError
from worker.logs import log_to_standard_error
from worker.settings import settings, unknown_settings_in_one_line
from worker.watch import Watch, WorkUnderWay, main_loop

log = logging.getLogger(__name__)

GARBAGE_THRESHOLD = 10_000
"""New objects between two looks for garbage; a chunk of messages makes about as many, and nearly none are cycles."""

PATIENCE_OF_A_TASK = 10
"""Seconds that a task takes besides its calls until it has stopped, at most."""
DELIVERIES = "wecom.deliver"
"""The queue of wake-ups."""

own_task = partial(app.task, shared=False)
"""Registers a task in this app alone; by default Celery puts it into every app of a process that imports it."""

under_way = WorkUnderWay()
"""The tasks this process works on."""


@cache
def office() -> Office:
    """Return what this worker process delivers with, opened once."""
    return open_office(settings(), lambda sender, slot: app.send_task("wecom.deliver", args=[sender, slot]))


@own_task(name="wecom.send", bind=True, max_retries=None)
def send(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - judged by delivery
    """Accept a message from a program that knows only Celery; docs/celery.md lists the arguments."""
    _finish(task, carry_out(office(), _request(task, args, kwargs)))


@own_task(name="wecom.campaign", bind=True, max_retries=None)
def campaign(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
    """Accept a campaign, as `wecom.send` does a message."""
    _finish(task, carry_out(office(), _request(task, args, kwargs)))


@own_task(name="wecom.recall", bind=True, max_retries=None)
def recall(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
    """Take a message or a campaign back."""
    _finish(task, carry_out(office(), _request(task, args, kwargs)))


@own_task(name="wecom.reject", bind=True, max_retries=None)
def reject_task(task: Task[Any, Any], /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
    """Keep what no task could be made of; only `worker.consumer` sends this."""
    _finish(task, reject(office(), _request(task, args, kwargs)))


@own_task(name="wecom.deliver")
def deliver(sender: str, slot: int = 0) -> None:
    """Send what a sender has due."""
    with _while_postgres_is_there():
        serve(office(), sender, slot)


@own_task(name="wecom.dispatch")
def dispatch_task() -> None:
    """Ring for every sender that has something due, and store what schedules have due."""
    with _while_postgres_is_there():
        dispatch(office())
        run_due_schedules(office())
        office().absence.ended()  # the dispatcher, of all tasks, always asks Postgres


@own_task(name="wecom.reap")
def reap_task() -> None:
    """Reopen what dead workers held."""
    with _while_postgres_is_there():
        reap(office())


@contextmanager
def _while_postgres_is_there() -> Iterator[None]:
    """End a task that meets a passing fault with a line in the log at most: the dispatcher has it done later."""
    try:
        yield
    except Exception as error:
        if not is_passing(error):
            raise
        office().absence.met(error)


def _request(task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> TaskRequest:
    return TaskRequest(str(task.name), str(task.request.id), args, kwargs, task.request.get(DUE_HEADER))


def _finish(task: Task[Any, Any], done: bool) -> None:  # noqa: FBT001 - what `carry_out` returns
    """Hand a task that could not be carried out over again; it leaves the broker only once it is there anew.

    A new message, as brokers count how often they have handed one over: RabbitMQ 4 drops it after 20 times.
    """
    if done:
        return
    if office().stopping.is_set():
        raise Reject("the worker stops", requeue=True)
    try:
        raise task.retry(queue=app.conf.task_default_queue, eta=task.request.get(DUE_HEADER), countdown=0)
    except Reject:
        raise Reject("the broker did not take it anew", requeue=True) from None


@setup_logging.connect
def _set_up_logging(**_: Any) -> None:  # noqa: ANN401 - Celery's signals pass what they like
    log_to_standard_error(settings().log_level)


@worker_init.connect
def _open_office(sender: Any, **_: Any) -> None:  # noqa: ANN401 - the worker
    if warning := unknown_settings_in_one_line():
        log.warning("%s", warning.removeprefix("warning: "))
    try:
        office()
    except (LedgerError, SecretKeyError, EmbeddedError) as error:
        raise SystemExit(f"the worker cannot start: {error}") from None
    except Exception as error:  # Celery would log it, and have a worker say that it is ready which is not
        reason = unreachable(error) if isinstance(error, OperationalError) else f"{type(error).__name__}: {error}"
        raise SystemExit(f"the worker cannot start: {reason}") from error
    # A worker of other queues alone is nobody whom a sender could be left to.
    delivers = DELIVERIES in sender.app.amqp.queues.consume_from
    signs = SignsOfLife(
        office().ledger.workers, office().worker, delivers=delivers, oldest_task_seconds=under_way.longest
    )
    signs.start()
    atexit.register(signs.stop)
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
    try:
        LifeSign(file).start()
    except LivenessError as error:
        raise SystemExit(f"the process cannot start: {error}") from None


@cache
def watch() -> Watch:
    """Return what watches over this process."""
    chosen = settings()
    # By then the broker has given the bell to another worker and every lease has run out: whatever this process
    # still holds is no longer its own, and ending it costs nothing.
    stuck_seconds = given_again_after(chosen) + chosen.lease_seconds
    patience = chosen.connect_timeout + chosen.read_timeout + PATIENCE_OF_A_TASK
    return Watch(main_loop, under_way, stuck_seconds, patience, _let_stay)


@worker_init.connect
def _watch_the_worker(**_: Any) -> None:  # noqa: ANN401
    watch().start()


@beat_init.connect
def _watch_beat(sender: Any, **_: Any) -> None:  # noqa: ANN401 - the service
    """Watch, and end beat on TERM in any state.

    Celery closes the connection to the broker in the signal's handler, while it is perhaps being written to or waited
    for, and what the handler raises is lost where no exception can be raised. Here the handler only says that beat is
    to stop, and the watch sees to it.
    """

    def stop(_number: int, _frame: object) -> None:
        watch().leave()
        sender.stop()
        raise SystemExit

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    watch().start()


@task_prerun.connect
def _begin(**_: Any) -> None:  # noqa: ANN401
    under_way.begin()


@task_postrun.connect
def _end(**_: Any) -> None:  # noqa: ANN401
    under_way.end()


@worker_shutting_down.connect
def _stop_sending(**_: Any) -> None:  # noqa: ANN401
    """Calls under way finish; messages that are claimed but not sent go back at once."""
    watch().leave()
    _let_stay()


def _let_stay() -> None:
    if office.cache_info().currsize:  # beat has none
        office().stopping.set()
