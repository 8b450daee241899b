"""How a worker takes tasks from the broker: what Celery would throw away, or end by, is kept.

Whoever reaches the broker can put anything there. Nothing of it ends a worker: a request that cannot be carried out
is kept until a person decides (`wecom rejected`), and a bell or a tick that is none is dropped with a line in the log.
"""

import hashlib
import logging
from collections.abc import Callable
from typing import Any, ClassVar

from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import maybe_shutdown
from kombu.exceptions import EncodeError
from kombu.message import Message

from worker.task_messages import OURS, AskedTask, UnreadableError, read, rewrite, said_arguments
from worker.watch import main_loop

log = logging.getLogger(__name__)

DUE_HEADER = "wecom_at"
"""Where a task carries the time that its sender gave Celery as eta or countdown."""
JUDGED_WITH_TIME = ("wecom.send", "wecom.campaign", "wecom.recall")
"""The tasks that are carried out at once: of the first two the ledger keeps the time, a recall cannot wait."""
KEPT_OF = "wecom"
"""The queue of requests; what else is thrown away is news that nobody needs an hour later."""
LONGEST_LINE = 300
FAULTS_OF_A_VALUE = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)


class Consumer(CeleryConsumer):
    """Celery's consumer, except for requests that are no tasks, and for those that are not due yet.

    Where a task is not due, Celery's worker holds on to its message. Redis then hands it to others again and again,
    and from RabbitMQ's quorum queues a worker gets nothing else once it holds as many as it has threads. Such a task
    is carried out at once instead, and whoever judges it is told its time.
    """

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc,valid-type] # celery-types makes it a variable
        """Celery's steps without the 28 queues that RabbitMQ would need for tasks that are not due."""

        default_steps: ClassVar = [
            step
            for step in CeleryConsumer.Blueprint.default_steps
            if step != "celery.worker.consumer.delayed_delivery:DelayedDelivery"
        ]

    def ensure_connected(self, conn: Any) -> Any:  # noqa: ANN401 - kombu's connection
        """Connect, however long the broker is away; each try shows that the main loop does not hang."""

        def failed(error: Exception, seconds: float) -> None:
            main_loop.turned()
            log.error("the broker %s cannot be reached (%s); next try in %d s", conn.as_uri(), error, seconds)

        def waits() -> None:
            main_loop.turned()
            maybe_shutdown()

        conn.ensure_connection(failed, callback=waits)
        self.first_connection_attempt = False
        return conn

    def register_with_event_loop(self, hub: Any) -> None:  # noqa: ANN401 - kombu's
        """Have every turn of the loop noted: with Redis and RabbitMQ in the pool `threads` it is this one."""
        hub.on_tick.add(main_loop.turned)
        super().register_with_event_loop(hub)

    def perform_pending_operations(self) -> None:
        """Note every turn of the other loop: that of the pool `gevent`."""
        main_loop.turned()
        super().perform_pending_operations()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], object]:  # noqa: ANN401 - Celery's
        """Return what is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Message) -> object:
            try:
                asked = self._read(message)
                rewrite(message, asked, _times_of(asked))
                return handle(message)
            except UnreadableError as error:
                self._refuse(message, str(error))
            except FAULTS_OF_A_VALUE as error:
                if message.acknowledged:
                    raise
                log.exception("a message of the broker met an error that nobody foresaw")
                self._refuse(message, f"{type(error).__name__}: {error}")
            return None

        return on_task_received

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:
        """Refuse a task of a name that this release does not have."""
        del body, exc
        self._refuse(message, f"task: this release has none named {message.headers.get('task')!r}")

    def on_unknown_message(self, body: object, message: Message) -> None:
        """Refuse what no Celery sent."""
        del body
        self._refuse(message, "it is no task of Celery")

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:
        """Refuse a task that is malformed."""
        del body
        self._refuse(message, f"it cannot be read: {exc}")

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Refuse what is not what it claims to be."""
        self._refuse(message, f"it cannot be read: {exc}")

    def _read(self, message: Message) -> AskedTask:
        asked = read(message)
        if not (asked.name.startswith(OURS) and asked.name in self.app.tasks):
            raise UnreadableError(f"task: this release has none named {asked.name!r}")
        return asked

    def _refuse(self, message: Message, reason: str) -> None:
        """Keep a request, or drop what is none."""
        queue = (message.delivery_info or {}).get("routing_key")
        if queue == KEPT_OF:
            self._keep(message, reason)
            return
        # repr, and not what it says: a log line must not be forged, nor hold a text that was meant for a member.
        log.warning("what came through the queue %r is no task and is dropped: %.*r", queue, LONGEST_LINE, reason)
        message.reject()

    def _keep(self, message: Message, reason: str) -> None:
        """Hand a request on to the task that keeps it, and only then let go of it.

        Raises:
            ConnectionError: the broker did not take it; it still has the message, and gives it out again.
        """
        headers = message.headers or {}
        args, kwargs = said_arguments(message)
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
        at = headers.get("eta")
        request = {
            "task": str(headers.get("task", "")),
            "task_id": str(headers.get("id") or f"sha256:{hashlib.sha256(body).hexdigest()}"),
            "args": args,
            "kwargs": kwargs,
            "at": at if isinstance(at, str) else None,
        }
        try:
            try:
                self._hand_on(reason, request)
            except (EncodeError, *FAULTS_OF_A_VALUE):
                self._hand_on(reason, request | {"args": [body.decode(errors="backslashreplace")], "kwargs": {}})
        except Exception as error:
            raise ConnectionError(f"what is refused could not be handed on ({type(error).__name__})") from error
        message.ack()

    def _hand_on(self, reason: str, request: dict[str, Any]) -> None:
        self.app.send_task("wecom.reject", kwargs={"reason": reason, "request": request}, queue=KEPT_OF)


def _times_of(asked: AskedTask) -> dict[str, str]:
    """Return the headers of a request's times; bells and ticks have none, as the clocks of machines may differ."""
    if asked.name not in JUDGED_WITH_TIME:
        return {}
    return {name: time for name, time in ((DUE_HEADER, asked.at), ("expires", asked.expires)) if time is not None}
