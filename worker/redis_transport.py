"""kombu's Redis as the broker, mended where it would end a worker.

Three things differ, all of them in kombu 5.7, and only in this app: other Celery apps of the same process keep kombu's
own.

- A connection that breaks while tasks are unanswered is closed in several steps, and after the first the channel no
  longer knows its server. kombu then reads an attribute of None: an AttributeError that nobody expects there, and the
  worker ends (https://github.com/celery/kombu/issues/582, closed without a remedy for this). Here it is the connection
  error it stands for, which the worker answers by connecting again.
- A message that cannot be acknowledged, because Redis is away, would count as taken for good. With as many of them as
  there are threads kombu no longer looks at its connection, never notices that it is broken, and takes no task ever
  again. Here it no longer counts; Redis still has it, and gives it to some worker again after a while.
- An entry of a queue that is no message ends the worker too, and is lost; see `redis_entries`.
"""

from typing import Any

from celery.app.amqp import AMQP as CeleryAMQP  # noqa: N811 - it is a name, no constant
from kombu import Connection
from kombu.transport.redis import Channel as KombuChannel
from kombu.transport.redis import QoS as KombuQoS
from kombu.transport.redis import Transport as KombuTransport
from kombu.transport.virtual import QoS
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker.redis_entries import carriable

FETCH = "BRPOP"


class Client(Redis):
    """A client whose queues hold nothing but messages."""

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:  # noqa: ANN401 - redis-py's
        """Read an answer."""
        answer = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name != FETCH or not answer:
            return answer
        key, entry = answer
        queue = key.decode().rsplit(KombuChannel.sep, 1)[0]
        return key, carriable(entry, queue)


class Taken(KombuQoS):
    """The messages that were taken and not acknowledged."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message; it counts as taken no more, whatever becomes of that."""
        try:
            super().ack(delivery_tag)
        except Exception:
            QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """Give a message back, or let go of it; it counts as taken no more, whatever becomes of that."""
        try:
            super().reject(delivery_tag, requeue)
        except Exception:
            QoS.ack(self, delivery_tag)
            raise


class Channel(KombuChannel):
    """A channel that knows when it is closed."""

    QoS = Taken

    def _get_client(self) -> type[Redis]:
        super()._get_client()  # type: ignore[misc] # celery-types does not know it; it may refuse the release of redis-py
        return Client

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - kombu's
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("the connection to the broker is closed")
        found: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc] # nor this
        return found


class Transport(KombuTransport):
    """Redis with such channels."""

    Channel = Channel


class BrokerConnection(Connection):
    """A connection to the broker, whichever it is."""

    def get_transport_cls(self) -> Any:  # noqa: ANN401 - a class of kombu's
        """Return what speaks with the broker; the address says which broker it is."""
        found = super().get_transport_cls()
        return Transport if found is KombuTransport else found


class AMQP(CeleryAMQP):
    """What Celery makes connections with."""

    Connection = BrokerConnection
