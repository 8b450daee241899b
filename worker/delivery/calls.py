"""Makes many calls for one sender at once, where each of them stands for itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from worker.delivery.office import Office
from worker.delivery.stopping import stop_sender
from worker.messages.sender import Sender
from worker.providers.base import Answer, Category, Channel, ProviderError

Claimed = TypeVar("Claimed")

AGAIN_SECONDS = 5.0
"""How long a call that met a passing fault waits before it is made again."""


def call_all(
    office: Office, sender: Sender, claimed: Sequence[Claimed], call: Callable[[Channel, Claimed], Answer]
) -> Sequence[Answer]:
    """Make a call for each claimed thing; answers are in order.

    The sender is stopped if it cannot authenticate or makes too many calls.
    """
    try:
        channel = office.provider_of(sender).open(sender)
    except ProviderError as error:
        stop_sender(office, sender, error.answer)
        return [replace(error.answer, category=Category.UNREACHABLE)] * len(claimed)
    answers = list(office.senders_at_work.map(lambda one: _answer(channel, one, call), claimed))
    for answer in answers:
        if answer.category is Category.RATE_LIMITED:
            stop_sender(office, sender, answer)
            break
    return answers


def rejected(answer: Answer) -> bool:
    """Whether an answer is the last word on a call that stands for itself.

    A fault of the configuration is one too: it may concern this API alone, and must not stop the sender's messages
    again and again. Where it concerns them as well, their own answers say so.
    """
    return answer.category in {
        Category.RECIPIENT,
        Category.CONTENT,
        Category.CONFIG,
        Category.TOKEN,
        Category.UNLISTED,
    }


def _answer(channel: Channel, claimed: Claimed, call: Callable[[Channel, Claimed], Answer]) -> Answer:
    try:
        return call(channel, claimed)
    except ProviderError as error:
        return error.answer
