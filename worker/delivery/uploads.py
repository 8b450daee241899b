"""Uploads the files that due messages wait for, before any of these messages is claimed.

An upload is an errand of its own, so no message is held while it lasts: it runs on a thread of its own, other messages
of the sender go out meanwhile, and its end wakes the messages that wait and rings the bell. Of several workers one
makes it. It may break off or be made twice without harm: a file alone shows nobody anything.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from worker.delivery.office import Office
from worker.delivery.outcome import PauseSender, decide, next_parking
from worker.delivery.stopping import stands_aside_for
from worker.delivery.upload_threads import OF_ONE_SENDER, SMALL_BYTES
from worker.ledger import ClaimedUpload, Refusal, Settled, is_passing
from worker.providers.base import Answer, Category, Channel, ProviderError, Upload

log = logging.getLogger(__name__)

LIFE_SECONDS = 3 * 24 * 3600
"""How long WeCom keeps an uploaded file (doc 90253)."""
LONGEST_MEDIA_ID = 512
FIRST_PAUSE = 5
LONGEST_PAUSE = 600
"""Seconds between two tries of an upload that failed: the first pause, and the longest, each twice the one before."""
TURN_SECONDS = 5
"""A thread uploads for one sender so long before others may have it."""
RENEWALS = 3
"""A lease is renewed so many times in its life: an upload may take longer, and a dead worker is noticed soon."""
HELD_SECONDS = 0.05
"""A message that another transaction holds is looked at again after so long."""
PATIENCE = 100
"""So many times; then another turn wakes the rest."""
MISSING = Answer(Category.CONTENT, reason="it is not kept any more; send the message anew")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """WeCom has the file."""

    media_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """WeCom will never take the file."""

    answer: Answer


@dataclass(frozen=True, slots=True)
class Limited:
    """WeCom takes no files of this sender for so many seconds; its limits are for each interface (doc 90312)."""

    seconds: int
    reason: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The upload may succeed in so many seconds."""

    seconds: int
    reason: str


def judge(upload: Upload, pause_seconds: int = 0, limit_seconds: int = 0) -> Uploaded | Refused | Limited | TryAgain:
    """Say what follows from the answer to an upload. Pure.

    A fault of the configuration does not stop the sender: it may concern uploads alone. Where it concerns messages as
    well, their own answers say so.

    Args:
        upload: what came back.
        pause_seconds: the pause after the last failure of this upload; 0 if there was none.
        limit_seconds: the pause after the last limit that the sender's uploads met; 0 if there was none.
    """
    answer = upload.answer
    if answer.category is Category.ACCEPTED and usable(upload.media_id):
        return Uploaded(str(upload.media_id))
    if answer.category in {Category.CONTENT, Category.RECIPIENT}:
        return Refused(answer)
    if answer.category is Category.RATE_LIMITED and isinstance(outcome := decide(answer), PauseSender):
        return Limited(next_parking(outcome.seconds or 0, limit_seconds), answer.said)
    reason = answer.said or "the answer names no media_id that could be used"
    return TryAgain(next_parking(FIRST_PAUSE, pause_seconds, LONGEST_PAUSE), reason)


def usable(media_id: object) -> bool:
    """Whether something is a media_id that a message can name."""
    return isinstance(media_id, str) and 0 < len(media_id) <= LONGEST_MEDIA_ID and media_id.isprintable()


def start_uploads(office: Office, name: str) -> None:
    """Have the uploads of a sender that are due made by threads of this process, and do not wait for them."""
    if not office.stopping.is_set() and (due := office.ledger.uploads.due(name, OF_ONE_SENDER)):
        office.upload_threads.start(name, due, partial(_upload_for_a_turn, office, name))


def _upload_for_a_turn(office: Office, name: str) -> None:
    """Upload one file after the other until none is due or the turn is over."""
    turn_ends = time.monotonic() + TURN_SECONDS
    try:
        while not office.stopping.is_set() and time.monotonic() < turn_ends:
            large = office.upload_threads.large.acquire(blocking=False)
            try:
                if not _upload_next(office, name, None if large else SMALL_BYTES):
                    return
            finally:
                if large:
                    office.upload_threads.large.release()
        office.bell.ring(name)
    except Exception as error:
        if is_passing(error):
            office.absence.met(error)
        else:
            log.exception("an upload for %s failed here; it is made again when its lease has ended", name)


def _upload_next(office: Office, name: str, most_bytes: int | None) -> bool:
    """Make the upload that is due longest, of a file of at most so many bytes; return False if there is none."""
    sender, now = office.ledger.senders.open(name)
    if sender.paused(now) or not office.aside.may_try(name):
        return False
    try:
        channel = office.provider_of(sender).open(sender)
    except ProviderError:
        return False  # whoever delivers for the sender meets the same, and says so
    claimed = office.ledger.uploads.claim(name, office.settings.lease_seconds, most_bytes)
    if claimed is None:
        return False
    if claimed.there:
        _wake(office, claimed)
        return True
    _settle(office, claimed, _upload(office, channel, claimed))
    return True


def _settle(office: Office, claimed: ClaimedUpload, upload: Upload) -> None:
    if upload.answer.address_refused and stands_aside_for(office, claimed.sender, upload.answer):
        office.ledger.uploads.give_back(claimed)
        return
    match judge(upload, claimed.pause_seconds, claimed.limit_seconds):
        case Uploaded(media_id):
            if office.ledger.uploads.keep(claimed, media_id, LIFE_SECONDS, office.settings.lease_seconds):
                _wake(office, claimed)
        case Refused(answer):
            _fail(office, claimed, answer)
        case _ if office.stopping.is_set():
            office.ledger.uploads.give_back(claimed)
        case Limited(seconds, reason):
            log.warning("%s uploads nothing for %d s: %s", claimed.sender, seconds, reason)
            office.ledger.uploads.limit(claimed, seconds, reason)
        case TryAgain(seconds, reason):
            log.warning("a file of %s is uploaded again in %d s: %s", claimed.sender, seconds, reason)
            office.ledger.uploads.try_again(claimed, seconds, reason)


def _upload(office: Office, channel: Channel, claimed: ClaimedUpload) -> Upload:
    file = office.ledger.media.read(claimed.reference)
    if file is None:
        return Upload(MISSING)
    try:
        return channel.upload(file.kind, file.filename, file.content, keep_going=_keep_going(office, claimed))
    except ProviderError as error:
        return Upload(error.answer)


def _keep_going(office: Office, claimed: ClaimedUpload) -> Callable[[], bool]:
    """Return what is asked while a file leaves: False ends the upload. It renews the lease in time."""
    lease_seconds = office.settings.lease_seconds
    renewed_at = time.monotonic()

    def keep_going() -> bool:
        nonlocal renewed_at
        if office.stopping.is_set():
            return False
        if time.monotonic() - renewed_at < lease_seconds / RENEWALS:
            return True
        renewed_at = time.monotonic()
        try:
            return office.ledger.uploads.renew(claimed, lease_seconds)
        except Exception as error:
            if is_passing(error):
                return True  # at worst another worker uploads the file as well
            raise

    return keep_going


def _wake(office: Office, claimed: ClaimedUpload) -> None:
    """Let the messages that wait for a file be due."""

    def wake() -> Settled:
        settled = office.ledger.uploads.wake(claimed, office.settings.lease_seconds)
        if settled.messages:
            office.bell.ring(claimed.sender, office.settings.deliveries)
        return settled

    _settle_all(office, claimed, wake)


def _fail(office: Office, claimed: ClaimedUpload, answer: Answer) -> None:
    """Fail the messages that wait for a file which WeCom does not take."""
    answer = replace(answer, reason=f"uploading its file: {answer.reason}")
    refusal = Refusal(answer.category, answer.errcode, answer.reason, answer.http_status, answer.milliseconds)

    def fail() -> Settled:
        settled = office.ledger.uploads.fail(claimed, refusal, office.settings.lease_seconds)
        office.campaign_watch.messages_failed(settled.campaigns)
        return settled

    _settle_all(office, claimed, fail)


def _settle_all(office: Office, claimed: ClaimedUpload, settle: Callable[[], Settled]) -> None:
    for _ in range(PATIENCE):
        while (settled := settle()).messages:
            pass
        if settled.finished:
            return
        time.sleep(HELD_SECONDS)
    office.ledger.uploads.give_back(claimed)
