"""Beat's two entries of our own: the ticks on which workers dispatch and reap.

A tick is worth something when a worker takes it, whenever it was sent. So it carries no time. Celery's `expires` would
be written by beat's clock and judged by a worker's: were these a few seconds apart, every tick would be thrown away. So
that ticks do not pile up while no worker runs, beat asks how many wait before it sends another.
"""

import logging
from contextlib import suppress
from typing import Any

from celery.beat import Scheduler

from worker.elapsed import elapsed
from worker.watch import main_loop

log = logging.getLogger(__name__)

MOST_WAITING = {"wecom.dispatch": 5, "wecom.reap": 10}
"""A tick is sent while fewer than so many wait in their queue; the rarer one always finds room beside the other."""
LONGEST_SLEEP = 1.0


class TickScheduler(Scheduler):
    """Sends each entry once in its interval, by a clock of the process that nobody sets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Celery's
        self._due: dict[str, float] = {}
        super().__init__(*args, **kwargs)

    def tick(self, *_: object, **__: object) -> float:
        """Send what is due, and return in how many seconds to look again."""
        main_loop.turned()
        entries: dict[str, Any] = self.schedule
        for entry in entries.values():
            if elapsed() >= self._due.get(entry.name, 0.0):
                self._due[entry.name] = elapsed() + entry.schedule.seconds
                self._send(entry)
        until_next = min(self._due.values(), default=float("inf")) - elapsed()
        return min(max(until_next, 0.0), LONGEST_SLEEP)

    def _send(self, entry: Any) -> None:  # noqa: ANN401 - Celery's ScheduleEntry
        try:
            if self._waiting(entry.task) < MOST_WAITING[entry.task]:
                self.apply_async(entry, producer=self.producer, advance=False)
        except Exception as error:  # noqa: BLE001 - brokers raise many things, and the next tick tries again
            log.error("%s could not be handed to the broker: %s", entry.task, error)  # noqa: TRY400 - one line
            with suppress(Exception):
                self.close()  # the next tick connects anew

    def _waiting(self, task: str) -> int:
        """Count the tasks in the queue of a task; this makes the queue where it is missing."""
        queue = self.app.amqp.router.route({}, task)["queue"]
        channel: Any = self.producer.channel  # the stubs know the methods of no transport
        declared = channel.queue_declare(
            queue.name, durable=queue.durable, auto_delete=queue.auto_delete, arguments=queue.queue_arguments
        )
        return int(declared.message_count)

    def _ensure_connected(self) -> Any:  # noqa: ANN401 - kombu's connection
        """Connect, however long the broker is away."""

        def failed(error: Exception, seconds: float) -> None:
            main_loop.turned()
            log.error("the broker cannot be reached (%s); next try in %d s", error, seconds)

        return self.connection.ensure_connection(failed, callback=main_loop.turned)
