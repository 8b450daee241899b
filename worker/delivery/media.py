"""Files in the bodies of messages.

In a stored body a file stands by reference, `wecom-file:` and the digest of its kind, name and content. Just before
the message is sent, the media_id that its claim has chosen takes the place (`ledger/waiting_for_files.py`). Before
that the file was uploaded (`uploads.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from worker.ledger import ClaimedMessage, Media
from worker.providers.base import Answer, Category, Channel

REFERENCE = "wecom-file:"


def send_with_files(
    channel: Channel, media: Media, sender: str, message: ClaimedMessage, before_leaving: Callable[[], None]
) -> Answer:
    """Send a message with its files in their places.

    Where WeCom says that it does not have a file any more, the media_id is forgotten: the next claim has the file
    uploaded again, as often as a busy WeCom is asked again. A repetition of unknown fate has no other media_id to use;
    its answer says nothing about the first try.

    Raises:
        HeldBack: `before_leaving` raised it; nothing was sent.
        ProviderError: the message was certainly not sent.
    """
    media_ids = dict(zip(message.files, message.media_ids, strict=True))
    answer = channel.send(with_media_ids(message.body, media_ids), message.recipients, before_leaving)
    if not answer.file_gone or message.resend_until is not None:
        return answer
    for reference, media_id in media_ids.items():
        media.forget(sender, reference, media_id)
    return replace(answer, category=Category.TRANSIENT)


def with_media_ids(body: Any, media_ids: Mapping[str, str]) -> Any:  # noqa: ANN401 - any part of a JSON body
    """Return a body with media_ids in the places of references."""
    if isinstance(body, Mapping):
        return {name: with_media_ids(value, media_ids) for name, value in body.items()}
    if isinstance(body, list):
        return [with_media_ids(value, media_ids) for value in body]
    if isinstance(body, str) and body.startswith(REFERENCE):
        return media_ids.get(body.removeprefix(REFERENCE), body)
    return body
