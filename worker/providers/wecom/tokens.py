"""Access tokens: one gettoken for all threads and processes of an app (doc 91039).

A token is kept in this process and, encrypted, in Redis. It is replaced five minutes before it ends, by one worker
under a lock, while the others go on with the old one. Without Redis each process fetches its own.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from redis import Redis, RedisError
from redis.exceptions import LockError

from worker.encryption import KeyRing, SecretKeyError
from worker.providers.base import Answer, Category, ProviderError
from worker.providers.wecom.replies import Reply, name_in, whole_number
from worker.redis_connection import OwnLock

log = logging.getLogger(__name__)

REFRESH_EARLY = 300
"""Seconds before its end from which a token is replaced."""
REFUSAL_SECONDS = 10
"""Seconds for which a refusal is believed without asking again: repeated ones ban our address (doc 90313)."""
LEAST_LIFE = 60
"""Seconds; a token that lives shorter would be fetched again and again, so it is none."""
LONGEST_LIFE = 86_400
"""Seconds for which a token is believed at most; WeCom says 7200 (doc 91039)."""
RENEWALS_IN_VAIN = 3
"""So many tokens refused at once, each as soon as it was fetched, are no accident any more."""
# A late loser of a race must not delete the token that already replaced the refused one.
_DELETE_IF_SAME = """
if redis.call('hget', KEYS[1], 'fingerprint') == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token and when it ends, in seconds of this machine's clock."""

    value: str = field(repr=False)
    expires_at: float

    @property
    def fingerprint(self) -> str:
        """Tells tokens apart without saying what they are."""
        return hashlib.sha256(self.value.encode()).hexdigest()[:16]

    def lives(self, seconds: float = 0) -> bool:
        """Whether it is valid for at least so many more seconds."""
        return self.expires_at - time.time() > seconds


class Credential:
    """What a token is fetched with; its digest names it where the secret must not be seen."""

    __slots__ = ("digest", "fetch")

    def __init__(self, *parts: str, fetch: Callable[[], Reply]) -> None:
        self.digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
        self.fetch = fetch


class Tokens:
    """The tokens of one process, shared with the others through Redis; safe to use from many threads."""

    def __init__(self, redis: Redis, key_ring: KeyRing, slowest_fetch: float = 30) -> None:
        # A worker that dies while it fetches delays the others by so much.
        self._lock_seconds = slowest_fetch
        self._redis = redis
        self._key_ring = key_ring
        self._known: dict[str, Token] = {}
        self._refusals: dict[str, tuple[float, Answer]] = {}
        self._refused_anew: dict[str, set[Token]] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._locks_guard = threading.Lock()
        self._delete_if_same = redis.register_script(_DELETE_IF_SAME)

    def get(self, credential: Credential, patience: float | None = None) -> Token:
        """Return a valid token, fetching one only if nobody else has or does.

        Args:
            credential: what it is fetched with.
            patience: seconds, at most, to wait for others who are fetching it; our own call comes on top.

        Raises:
            ProviderError: WeCom refused the credential, or could not be asked, or others took too long.
        """
        until = time.monotonic() + (2 * self._lock_seconds if patience is None else patience)
        token = self._known.get(credential.digest)
        if token is not None and token.lives(REFRESH_EARLY):
            return token
        lock = self._lock_of(credential)
        # While the old token still lives, one thread replaces it and nobody waits.
        if not (lock.acquire(timeout=_left(until)) if token is None or not token.lives() else lock.acquire(False)):
            if token is not None and token.lives():
                return token
            raise ProviderError(_OTHERS_TOO_SLOW)
        try:
            return self._known_or_shared(credential) or self._fetch_alone(credential, until)
        finally:
            lock.release()

    def check(self, credential: Credential) -> Answer:
        """Fetch a token although one may be known, and return what came of it; a refusal of the last seconds counts.

        A token that is fetched while another one lives is the same one (doc 91039).
        """
        try:
            self._share_refusal(credential)
            self._fetch(credential)
        except ProviderError as error:
            return error.answer
        return Answer(Category.ACCEPTED)

    def forget_refusal(self, credential: Credential) -> None:
        """Have all processes ask again, although WeCom refused the credential a moment ago."""
        self._refusals.pop(credential.digest, None)
        with suppress(RedisError):
            self._redis.delete(_refused_key(credential))

    def discard(self, credential: Credential, token: Token) -> None:
        """Forget a token WeCom refused, unless it has been replaced already."""
        if self._known.get(credential.digest) == token:
            self._known.pop(credential.digest, None)
        with suppress(RedisError):
            self._delete_if_same(keys=[_key(credential)], args=[token.fingerprint])

    def hopeless(self, credential: Credential, token: Token) -> bool:
        """Note that a token was refused as soon as it was fetched, and say whether that has become a rule.

        One may be unlucky: WeCom may end any token at any time (doc 91039), and another caller can be the cause.
        """
        refused = self._refused_anew.setdefault(credential.digest, set())
        refused.add(token)
        return len(refused) >= RENEWALS_IN_VAIN

    def accepted(self, credential: Credential) -> None:
        """Note that a token works."""
        if self._refused_anew:
            self._refused_anew.pop(credential.digest, None)

    def _lock_of(self, credential: Credential) -> threading.Lock:
        with self._locks_guard:
            return self._locks.setdefault(credential.digest, threading.Lock())

    def _known_or_shared(self, credential: Credential, *, early: float = REFRESH_EARLY) -> Token | None:
        """Look again, now that we hold a lock: whoever held it before may have fetched a token."""
        refused_at, refusal = self._refusals.get(credential.digest, (0.0, None))
        if refusal is not None and time.monotonic() - refused_at < REFUSAL_SECONDS:
            if self._still_refused(credential, refusal):
                raise ProviderError(refusal)
            self._refusals.pop(credential.digest, None)
        token = self._known.get(credential.digest)
        if token is not None and token.lives(early):
            return token
        try:
            stored = self._redis.hget(_key(credential), "token")
        except RedisError as error:
            log.warning("Redis does not answer (%s); this process fetches its own token", type(error).__name__)
            return None
        if not isinstance(stored, bytes):
            return None
        try:
            values = self._key_ring.decrypt(stored)
        except SecretKeyError:
            return None
        token = Token(values["token"], float(values["expires_at"]))
        if not token.lives(early):
            return None
        self._known[credential.digest] = token
        return token

    def _fetch_alone(self, credential: Credential, until: float) -> Token:
        """Fetch a token under a lock that all processes share."""
        lock = self._redis.lock(
            f"{_key(credential)}:lock", timeout=self._lock_seconds, sleep=0.05, thread_local=False, lock_class=OwnLock
        )
        current = self._known.get(credential.digest)
        still_valid = current is not None and current.lives()
        try:
            held = lock.acquire(blocking=not still_valid, blocking_timeout=_left(until))
        except RedisError:
            return self._fetch(credential)
        if not held:
            if current is not None and current.lives():
                return current
            raise ProviderError(_OTHERS_TOO_SLOW)
        try:
            self._share_refusal(credential)
            return self._known_or_shared(credential) or self._fetch(credential)
        finally:
            with suppress(RedisError, LockError):
                lock.release()

    def _still_refused(self, credential: Credential, refusal: Answer) -> bool:
        """Whether nobody has had a refusal forgotten that all processes share."""
        if refusal.category is not Category.CONFIG:
            return True
        try:
            return bool(self._redis.exists(_refused_key(credential)))
        except RedisError:
            return True

    def _share_refusal(self, credential: Credential) -> None:
        with suppress(RedisError):
            refusal = self._redis.get(_refused_key(credential))
            if isinstance(refusal, bytes):
                errcode, _, reason = refusal.decode().partition(" ")
                raise ProviderError(Answer(Category.CONFIG, errcode=int(errcode), reason=reason))

    def _fetch(self, credential: Credential) -> Token:
        reply = credential.fetch()
        if reply.answer.category is not Category.ACCEPTED:
            self._remember_refusal(credential, reply.answer)
            raise ProviderError(reply.answer)
        value, lifetime = name_in(reply.payload, "access_token"), whole_number(reply.payload.get("expires_in"))
        if value is None or lifetime is None or lifetime < LEAST_LIFE:
            answer = Answer(Category.UNREACHABLE, reason="the answer to gettoken holds no token that lives")
            self._refusals[credential.digest] = (time.monotonic(), answer)
            raise ProviderError(answer)
        lifetime = min(lifetime, LONGEST_LIFE)
        token = Token(value, time.time() + lifetime)
        self._known[credential.digest] = token
        self._refusals.pop(credential.digest, None)
        self._store(credential, token, lifetime)
        return token

    def _store(self, credential: Credential, token: Token, lifetime: int) -> None:
        encrypted = self._key_ring.encrypt({"token": token.value, "expires_at": str(token.expires_at)})
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.hset(_key(credential), mapping={"fingerprint": token.fingerprint, "token": encrypted})
                pipeline.expire(_key(credential), lifetime)
                pipeline.execute()
        except RedisError as error:
            log.warning("the token could not be shared through Redis (%s)", type(error).__name__)

    def _remember_refusal(self, credential: Credential, answer: Answer) -> None:
        if answer.category is not Category.CONFIG or answer.address_refused:
            return  # what concerns the address of this machine must not keep others from asking
        self._refusals[credential.digest] = (time.monotonic(), answer)
        with suppress(RedisError):
            self._redis.set(_refused_key(credential), f"{answer.errcode} {answer.reason}", ex=REFUSAL_SECONDS)


_OTHERS_TOO_SLOW = Answer(Category.UNREACHABLE, reason="another worker has been fetching the token for too long")


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())


def _key(credential: Credential) -> str:
    return f"wecom:token:{credential.digest}"


def _refused_key(credential: Credential) -> str:
    return f"{_key(credential)}:refused"
