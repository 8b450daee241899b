"""What differs between brokers: Redis, and RabbitMQ, whose queues are kept on several machines (quorum queues)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from worker.settings import Settings

RABBITMQ = ("amqp://", "amqps://", "pyamqp://")
QUORUM: Mapping[str, Any] = MappingProxyType({"x-queue-type": "quorum"})
"""How a queue of RabbitMQ is declared, by everybody alike: RabbitMQ refuses a declaration that differs."""


def is_rabbitmq(broker_url: str) -> bool:
    """Whether a broker's address is one of RabbitMQ."""
    return broker_url.startswith(RABBITMQ)


def given_again_after(chosen: Settings) -> float:
    """Return after how many seconds Redis gives a task to another worker; it is longer than any task takes."""
    return 240 + chosen.lease_seconds
