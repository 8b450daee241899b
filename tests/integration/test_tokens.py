"""Access tokens are fetched once, replaced early, and never seen."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from worker.encryption import KeyRing
from worker.providers.base import Answer, Category, ProviderError
from worker.providers.wecom.replies import Reply
from worker.providers.wecom.tokens import REFRESH_EARLY, Credential, Tokens
from worker.redis_connection import open_redis

KEY_RING = KeyRing(["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="])


class Issuer:
    """Stands where gettoken is called, and counts."""

    def __init__(self, lifetime: int = 7200, refusal: Answer | None = None) -> None:
        self.calls = 0
        self.lifetime = lifetime
        self.refusal = refusal
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._counting = threading.Lock()

    def __call__(self) -> Reply:
        with self._counting:
            self.calls += 1
            number = self.calls
        self.may_answer.wait(10)
        if self.refusal is not None:
            return Reply(self.refusal, {})
        return Reply(Answer(Category.ACCEPTED), {"access_token": f"token-{number}", "expires_in": self.lifetime})

    def credential(self) -> Credential:
        return Credential("gettoken", "corp", "secret", fetch=self)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """The Redis of this test."""
    with Redis.from_url(redis_url) as redis:
        yield redis


def test_fifty_threads_in_three_processes_fetch_one_token(redis: Redis) -> None:
    issuer = Issuer()
    issuer.may_answer.clear()
    processes = [Tokens(redis, KEY_RING) for _ in range(3)]
    with ThreadPoolExecutor(50) as pool:
        asked = [pool.submit(processes[n % 3].get, issuer.credential()) for n in range(50)]
        issuer.may_answer.set()
        values = {one.result().value for one in asked}
    assert (values, issuer.calls) == ({"token-1"}, 1)


def test_a_token_is_replaced_five_minutes_before_its_end(redis: Redis) -> None:
    issuer = Issuer(lifetime=REFRESH_EARLY - 1)
    tokens = Tokens(redis, KEY_RING)
    assert tokens.get(issuer.credential()).value == "token-1"
    issuer.lifetime = 7200
    assert tokens.get(issuer.credential()).value == "token-2"
    assert tokens.get(issuer.credential()).value == "token-2"


def test_while_one_thread_replaces_a_living_token_the_others_use_the_old_one(redis: Redis) -> None:
    issuer = Issuer(lifetime=REFRESH_EARLY - 1)
    tokens, elsewhere = Tokens(redis, KEY_RING), Tokens(redis, KEY_RING)
    first = tokens.get(issuer.credential())
    issuer.may_answer.clear()
    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(tokens.get, issuer.credential())
        while issuer.calls < 2:
            time.sleep(0.001)
        assert tokens.get(issuer.credential()) == first
        elsewhere._known[issuer.credential().digest] = first  # noqa: SLF001 - as if it had been used there before
        assert elsewhere.get(issuer.credential()) == first
        issuer.may_answer.set()
        assert replacing.result().value == "token-2"


def test_a_refused_token_is_forgotten_everywhere_but_not_its_successor(redis: Redis) -> None:
    issuer = Issuer()
    here, there = Tokens(redis, KEY_RING), Tokens(redis, KEY_RING)
    refused = here.get(issuer.credential())
    there.get(issuer.credential())

    here.discard(issuer.credential(), refused)
    successor = here.get(issuer.credential())
    there.discard(issuer.credential(), refused)

    assert there.get(issuer.credential()) == successor
    assert issuer.calls == 2


def test_a_refused_secret_is_asked_once_by_all_threads_and_processes(redis: Redis) -> None:
    issuer = Issuer(refusal=Answer(Category.CONFIG, errcode=40001, reason="invalid credential"))
    processes = [Tokens(redis, KEY_RING) for _ in range(3)]
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(processes[n % 3].get, issuer.credential()) for n in range(30)]
        errors = [one.exception() for one in asked]
    assert {type(error) for error in errors} == {ProviderError}
    assert {error.answer.errcode for error in errors if isinstance(error, ProviderError)} == {40001}
    assert issuer.calls == 1


def test_without_redis_each_process_fetches_its_own_token() -> None:
    issuer = Issuer()
    with open_redis("unix:///nowhere/redis.sock") as nowhere:
        processes = [Tokens(nowhere, KEY_RING) for _ in range(2)]
        for process in processes * 3:
            process.get(issuer.credential())
    assert issuer.calls == 2


def test_a_token_encrypted_with_another_key_is_fetched_anew(redis: Redis) -> None:
    issuer = Issuer()
    Tokens(redis, KeyRing(["YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="])).get(issuer.credential())
    Tokens(redis, KEY_RING).get(issuer.credential())
    assert issuer.calls == 2


def test_an_answer_without_a_token_is_an_error_not_a_token(redis: Redis) -> None:
    credential = Credential("x", fetch=lambda: Reply(Answer(Category.ACCEPTED), {"errcode": 0}))
    with pytest.raises(ProviderError, match="holds no token"):
        Tokens(redis, KEY_RING).get(credential)


def test_redis_holds_neither_token_nor_secret_in_the_clear(redis: Redis) -> None:
    issuer = Issuer()
    Tokens(redis, KEY_RING).get(issuer.credential())
    stored = [(key, redis.hgetall(key)) for key in redis.keys("*")]  # type: ignore[union-attr]
    assert stored
    assert b"token-1" not in repr(stored).encode()
    assert b"secret" not in repr(stored).encode()


def test_tokens_of_different_apps_of_a_corp_are_kept_apart(redis: Redis) -> None:
    issuer, tokens = Issuer(), Tokens(redis, KEY_RING)
    first = tokens.get(Credential("gettoken", "corp", "secret-a", fetch=issuer))
    second = tokens.get(Credential("gettoken", "corp", "secret-b", fetch=issuer))
    assert first != second


@pytest.mark.parametrize("lifetime", [0, -1, 59, True, None, "", "soon", 1.5, 10**12])
def test_a_token_that_is_dead_at_once_is_none_and_is_not_fetched_again_and_again(
    redis: Redis, lifetime: object
) -> None:
    calls: list[None] = []

    def fetch() -> Reply:
        calls.append(None)
        return Reply(Answer(Category.ACCEPTED), {"access_token": "token", "expires_in": lifetime})

    tokens = Tokens(redis, KEY_RING)
    for _ in range(10):
        with pytest.raises(ProviderError, match="holds no token"):
            tokens.get(Credential("x", fetch=fetch))
    assert len(calls) == 1


def test_a_lifetime_that_is_written_as_a_text_is_read(redis: Redis) -> None:
    answer = Reply(Answer(Category.ACCEPTED), {"access_token": "token", "expires_in": "7200"})
    token = Tokens(redis, KEY_RING).get(Credential("x", fetch=lambda: answer))
    assert token.lives(7000)
    assert not token.lives(7300)


def test_who_has_no_patience_does_not_wait_for_others(redis: Redis) -> None:
    issuer = Issuer()
    issuer.may_answer.clear()
    here, there = Tokens(redis, KEY_RING), Tokens(redis, KEY_RING)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(here.get, issuer.credential())
        while not issuer.calls:
            time.sleep(0.001)
        for tokens in (here, there):
            began = time.monotonic()
            with pytest.raises(ProviderError, match="for too long"):
                tokens.get(issuer.credential(), patience=0.2)
            assert time.monotonic() - began < 2
        issuer.may_answer.set()
        assert fetching.result().value == "token-1"
