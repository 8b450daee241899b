"""How a worker takes tasks from the broker: what Celery would throw away with a line in the log is kept."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import KombuError
from kombu.message import Message

DUE_HEADER = "wecom_at"
"""Where a task carries the time that its sender gave Celery as eta or countdown."""
JUDGED_WITH_TIME = ("wecom.send", "wecom.campaign", "wecom.recall")
"""The tasks that are carried out at once: of the first two the ledger keeps the time, a recall cannot wait."""
KEPT_OF = "wecom"
"""The queue of requests; what else is thrown away is news that nobody needs an hour later."""


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

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], object]:  # noqa: ANN401 - Celery's
        """Return what is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Message) -> object:
            headers = message.headers or {}
            if headers.get("eta") and headers.get("task") in JUDGED_WITH_TIME:
                headers[DUE_HEADER] = headers.pop("eta")
            return handle(message)

        return on_task_received

    def on_unknown_task(self, body: object, message: Message, exc: Exception) -> None:
        """Keep a task of a name that this release does not have."""
        if not self._keep(message, f"task: this release has none named {message.headers.get('task')!r}"):
            super().on_unknown_task(body, message, exc)

    def on_unknown_message(self, body: object, message: Message) -> None:
        """Keep what no Celery sent."""
        if not self._keep(message, "it is no task of Celery"):
            super().on_unknown_message(body, message)

    def on_invalid_task(self, body: object, message: Message, exc: Exception) -> None:
        """Keep a task that is malformed, or written in another form than JSON."""
        if not self._keep(message, f"it cannot be read: {exc}"):
            super().on_invalid_task(body, message, exc)

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """Keep what claims to be JSON and is not."""
        if not self._keep(message, f"it cannot be read: {exc}"):
            super().on_decode_error(message, exc)

    def _keep(self, message: Message, reason: str) -> bool:
        """Hand a request on to the task that keeps it, and only then let go of it."""
        if (message.delivery_info or {}).get("routing_key") != KEPT_OF:
            return False
        headers: Mapping[str, Any] = message.headers or {}
        args, kwargs = _arguments(message)
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
        request = {
            "task": str(headers.get("task", "")),
            "task_id": str(headers.get("id") or f"sha256:{hashlib.sha256(body).hexdigest()}"),
            "args": args,
            "kwargs": kwargs,
            "at": headers.get("eta"),
        }
        self.app.send_task("wecom.reject", kwargs={"reason": reason, "request": request}, queue=KEPT_OF)
        message.ack()
        return True


def _arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    """Return a task's arguments, or as its only one the text that cannot be read as such."""
    try:
        payload = message.payload
    except KombuError:
        body = message.body
        return [body.decode(errors="backslashreplace") if isinstance(body, bytes) else body], {}
    match payload:
        case [list(args), dict(kwargs), _]:
            return args, kwargs
        case _:
            return [payload], {}
