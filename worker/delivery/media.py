"""Files that messages show: uploaded once for each sender, and again when WeCom does not keep them any more.

In a stored body a file stands by reference, `wecom-file:` and the digest of its kind, name and content. The worker
puts the media_id in its place, just before it sends.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from redis import Redis, RedisError
from redis.exceptions import LockError

from worker.ledger import ClaimedMessage, Media
from worker.providers.base import Answer, Category, Channel, ProviderError, Upload
from worker.redis_connection import OwnLock

REFERENCE = "wecom-file:"
LIFE_SECONDS = 3 * 24 * 3600
"""How long WeCom keeps an uploaded file (doc 90253)."""
SPARE_SECONDS = 3600
"""A media_id is replaced so long before its end: a message of unknown fate finds the same one when it is repeated."""
REMEMBERED_SECONDS = 60
"""How long this process believes what it read from the ledger; much less than the time to spare."""
UPLOAD_LOCK_SECONDS = 60
"""A worker that dies while it uploads delays the others by so much; if one takes longer, another uploads as well."""
GONE = frozenset({40007, 40145})
"""errcodes of a media_id that WeCom does not know any more."""
LOCKS = 64


class MediaLibrary:
    """The uploaded files of all senders, as this process knows them; safe to use from many threads."""

    def __init__(self, media: Media, redis: Redis) -> None:
        self._media = media
        self._redis = redis
        self._remembered: dict[tuple[str, str], tuple[str, float]] = {}
        # A thread may have read a media_id just before another one was refused it, and remember it after that.
        self._gone: set[str] = set()
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def send(
        self, channel: Channel, sender: str, message: ClaimedMessage, before_leaving: Callable[[], None] = lambda: None
    ) -> Answer:
        """Send a message with its files in their places; if one is gone, upload it again and send once more.

        Raises:
            ProviderError: a file could not be uploaded; nothing was sent.
        """
        media_ids = self._media_ids(channel, sender, message)
        answer = channel.send(with_media_ids(message.body, media_ids), message.recipients, before_leaving)
        if answer.errcode not in GONE:
            return answer
        for reference, media_id in media_ids.items():
            self._forget(sender, reference, media_id)
        return channel.send(
            with_media_ids(message.body, self._media_ids(channel, sender, message)), message.recipients, before_leaving
        )

    def _media_ids(self, channel: Channel, sender: str, message: ClaimedMessage) -> dict[str, str]:
        return {reference: self._media_id(channel, sender, reference) for reference in message.files}

    def _media_id(self, channel: Channel, sender: str, reference: str) -> str:
        known = self._known(sender, reference)
        if known is not None:
            return known
        with self._locks[hash((sender, reference)) % LOCKS], self._alone(sender, reference):
            return self._known(sender, reference) or self._upload(channel, sender, reference)

    def _known(self, sender: str, reference: str) -> str | None:
        media_id, until = self._remembered.get((sender, reference), ("", 0.0))
        if time.monotonic() < until and media_id not in self._gone:
            return media_id
        found = self._media.find(sender, reference, SPARE_SECONDS)
        if found is None or found in self._gone:
            return None
        self._remember(sender, reference, found)
        return found

    def _remember(self, sender: str, reference: str, media_id: str) -> None:
        if len(self._remembered) > 10 * LOCKS:
            self._remembered.clear()
            self._gone.clear()
        self._remembered[sender, reference] = (media_id, time.monotonic() + REMEMBERED_SECONDS)

    def _forget(self, sender: str, reference: str, media_id: str) -> None:
        """Forget a media_id everywhere, unless another thread has replaced it already."""
        self._gone.add(media_id)
        self._media.forget(sender, reference, media_id)

    def _upload(self, channel: Channel, sender: str, reference: str) -> str:
        file = self._media.read(reference)
        if file is None:
            raise ProviderError(Answer(Category.CONTENT, reason="the file of this message is not kept any more"))
        upload = channel.upload(file.kind, file.filename, file.content)
        if upload.media_id is None:
            raise ProviderError(_not_sent(upload))
        self._media.keep(sender, reference, upload.media_id, LIFE_SECONDS)
        self._remember(sender, reference, upload.media_id)
        return upload.media_id

    @contextmanager
    def _alone(self, sender: str, reference: str) -> Iterator[None]:
        """Keep other processes from uploading the same file; without Redis each may upload it once."""
        lock = self._redis.lock(
            f"wecom:upload:{sender}:{reference}",
            timeout=UPLOAD_LOCK_SECONDS,
            sleep=0.05,
            thread_local=False,
            lock_class=OwnLock,
        )
        with suppress(RedisError):
            lock.acquire(blocking_timeout=UPLOAD_LOCK_SECONDS)
        try:
            yield
        finally:
            with suppress(RedisError, LockError):
                lock.release()


def with_media_ids(body: Any, media_ids: Mapping[str, str]) -> Any:  # noqa: ANN401 - any part of a JSON body
    """Return a body with media_ids in the places of references."""
    if isinstance(body, Mapping):
        return {name: with_media_ids(value, media_ids) for name, value in body.items()}
    if isinstance(body, list):
        return [with_media_ids(value, media_ids) for value in body]
    if isinstance(body, str) and body.startswith(REFERENCE):
        return media_ids.get(body.removeprefix(REFERENCE), body)
    return body


def _not_sent(upload: Upload) -> Answer:
    """Say of a failed upload what it means for the message."""
    answer = upload.answer
    return replace(
        answer,
        category=Category.UNREACHABLE if answer.category is Category.ACCEPTED else answer.category,
        reason=f"uploading its file: {answer.reason or 'the answer names no media_id'}",
    )
