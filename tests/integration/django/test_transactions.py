"""What Django's transactions mean for messages."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import override_settings
from redis import Redis

from worker import (
    File,
    IdempotencyConflict,
    InvalidMessage,
    Producer,
    SendRequest,
    State,
    Text,
    UnknownMessage,
    UnknownSender,
)
from worker.delivery import accept
from worker.integrations.django import wecom
from worker.ledger import Ledger, LedgerError

HELLO = Text(content="hello")
Project = Callable[..., None]

pytestmark = pytest.mark.usefixtures("project")


class RolledBackError(Exception):
    """Somebody changed their mind."""


def rung(redis_url: str) -> bool:
    with Redis.from_url(redis_url) as redis:
        return bool(redis.exists("wecom:bell:hr:0"))


def test_with_the_commit_the_message_is_there_and_the_bell_rings(redis_url: str) -> None:
    with transaction.atomic():
        Group.objects.create(name="order 1")
        message = wecom.send("hr", HELLO, users=["zhangsan"])
        with pytest.raises(UnknownMessage):
            wecom.status(message)
        assert not rung(redis_url)
    assert wecom.status(message).state is State.SCHEDULED
    assert Group.objects.count() == 1
    assert rung(redis_url)


def test_after_a_roll_back_neither_the_row_nor_the_message_existed_and_nobody_rings(redis_url: str) -> None:
    with suppress(RolledBackError), transaction.atomic():
        Group.objects.create(name="order 1")
        message = wecom.send("hr", HELLO, users=["zhangsan"])
        raise RolledBackError
    with pytest.raises(UnknownMessage):
        wecom.status(message)
    assert Group.objects.count() == 0
    assert not rung(redis_url)


def test_a_savepoint_that_is_rolled_back_takes_its_message_along_and_leaves_the_others() -> None:
    with transaction.atomic():
        first = wecom.send("hr", HELLO, users=["zhangsan"])
        with suppress(RolledBackError), transaction.atomic():
            second = wecom.send("hr", HELLO, users=["lisi"])
            raise RolledBackError
    assert wecom.status(first).state is State.SCHEDULED
    with pytest.raises(UnknownMessage):
        wecom.status(second)


def test_outside_of_a_transaction_a_message_is_stored_and_rung_for_at_once(redis_url: str) -> None:
    message = wecom.send("hr", HELLO, users=["zhangsan"])
    assert wecom.status(message).state is State.SCHEDULED
    assert rung(redis_url)


def test_a_process_that_only_sends_opens_no_connection_of_django() -> None:
    wecom.send("hr", HELLO, users=["zhangsan"])
    assert connection.connection is None


def test_with_autocommit_off_the_message_waits_for_the_commit_by_hand(redis_url: str) -> None:
    transaction.set_autocommit(False)
    try:
        lost = wecom.send("hr", HELLO, users=["zhangsan"])
        transaction.rollback()
        message = wecom.send("hr", HELLO, users=["zhangsan"])
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert wecom.status(message).state is State.SCHEDULED
    with pytest.raises(UnknownMessage):
        wecom.status(lost)
    assert not rung(redis_url)


@pytest.mark.parametrize(
    ("sender", "users", "error"), [("nobody", ["zhangsan"], UnknownSender), ("hr", [], InvalidMessage)]
)
def test_after_a_refusal_the_transaction_goes_on_and_nothing_of_the_refused_is_stored(
    ledger: Ledger, sender: str, users: list[str], error: type[Exception]
) -> None:
    good = [SendRequest("hr", HELLO, users=[f"user{number}"]) for number in range(1001)]
    with transaction.atomic():
        with pytest.raises(error):
            wecom.send_many([*good, SendRequest(sender, HELLO, users=users)])
        Group.objects.create(name="order 1")
    assert Group.objects.count() == 1
    assert ledger.history.counts("hr") == {}


def test_a_key_joins_the_transaction_too() -> None:
    with suppress(RolledBackError), transaction.atomic():
        wecom.send("hr", HELLO, users=["zhangsan"], idempotency_key="order 1")
        raise RolledBackError
    with transaction.atomic():
        message = wecom.send("hr", Text(content="other"), users=["zhangsan"], idempotency_key="order 1")
        assert wecom.send("hr", Text(content="other"), users=["zhangsan"], idempotency_key="order 1") == message
        with pytest.raises(IdempotencyConflict):
            wecom.send("hr", HELLO, users=["zhangsan"], idempotency_key="order 1")
    assert wecom.status(message).state is State.SCHEDULED


def test_a_campaign_and_recalls_take_part_in_the_transaction() -> None:
    kept = wecom.send("hr", HELLO, users=["zhangsan"])
    taken_back = wecom.send("hr", HELLO, users=["lisi"])
    with suppress(RolledBackError), transaction.atomic():
        wecom.recall(kept)
        wecom.campaign("lost", sender="hr", message=HELLO, recipients=["a", "b"])
        raise RolledBackError
    with transaction.atomic():
        assert [part.state for part in wecom.recall(taken_back)] == [State.CANCELLED]
        wecom.campaign("payday", sender="hr", message=Text(content="{{ n }}"), recipients=[{"userid": "a", "n": 1}])
        again = wecom.campaign(
            "payday", sender="hr", message=Text(content="{{ n }}"), recipients=[{"userid": "a", "n": 1}]
        )
        assert not again.created
    assert wecom.status(kept).state is State.SCHEDULED
    assert wecom.status(taken_back).state is State.CANCELLED
    assert [one.name for one in wecom.campaigns()] == ["payday"]


@pytest.mark.usefixtures("settings_without_zones")
def test_a_project_without_time_zones_can_send() -> None:
    with transaction.atomic():
        Group.objects.create(name="order 1")
        message = wecom.send("hr", HELLO, users=["zhangsan"])
    assert wecom.status(message).state is State.SCHEDULED


class TestWhereTheLedgerIsElsewhere:
    """The same rows in the same database, but Django is only told its URL."""

    @pytest.fixture(autouse=True)
    def _elsewhere(self, project: Project, database_url: str) -> None:
        project(DATABASE_URL=database_url)

    def test_a_message_is_sent_after_the_commit_under_the_id_it_has_already(self) -> None:
        with transaction.atomic():
            message = wecom.send("hr", HELLO, users=iter(["zhangsan"]))
            with pytest.raises(UnknownMessage):
                wecom.status(message)
        assert wecom.status(message).recipients.users == ("zhangsan",)

    def test_after_a_roll_back_nothing_is_sent(self, ledger: Ledger) -> None:
        with suppress(RolledBackError), transaction.atomic():
            wecom.send("hr", HELLO, users=["zhangsan"])
            raise RolledBackError
        assert ledger.history.counts("hr") == {}

    def test_what_cannot_be_sent_is_refused_at_once(self) -> None:
        with transaction.atomic(), pytest.raises(InvalidMessage, match="nobody is named"):
            wecom.send("hr", HELLO)

    @pytest.mark.parametrize("field", ["at", "expires"])
    def test_a_time_that_has_passed_is_refused_at_once(self, field: str) -> None:
        past = datetime.now(UTC) - timedelta(hours=1)
        request = SendRequest("hr", HELLO, users=["zhangsan"], **{field: past})
        with transaction.atomic(), pytest.raises(InvalidMessage, match=f"{field}: "):
            wecom.send_many([request])

    def test_a_due_time_that_passes_before_the_commit_means_now(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with transaction.atomic():
            message = wecom.send("hr", HELLO, users=["zhangsan"], at=datetime.now(UTC) - timedelta(seconds=30))
            monkeypatch.setattr(accept, "CLOCK_TOLERANCE", timedelta(0))  # as if much more time had passed
        assert wecom.status(message).state is State.SCHEDULED

    def test_a_large_audience_is_sent_after_the_commit_too(self) -> None:
        with transaction.atomic():
            message = wecom.send("hr", HELLO, users=[f"user{number}" for number in range(1001)])
        assert len(wecom.status(message).parts) == 1

    def test_a_file_is_read_when_it_is_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "payslip.txt"
        path.write_text("a lot of money")
        with transaction.atomic():
            message = wecom.send("hr", File(path=path), users=["zhangsan"])
            path.unlink()
        assert wecom.status(message).state is State.SCHEDULED

    def test_what_fails_after_the_commit_is_logged_and_keeps_nothing_else_from_being_sent(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with transaction.atomic():
            wecom.send("nobody", HELLO, users=["zhangsan"])
            message = wecom.send("hr", HELLO, users=["zhangsan"])
        assert wecom.status(message).state is State.SCHEDULED
        assert "no sender named 'nobody'" in caplog.text

    def test_a_message_is_taken_back_after_the_commit(self) -> None:
        message = wecom.send("hr", HELLO, users=["zhangsan"])
        with transaction.atomic():
            assert wecom.recall(message) == []
            assert wecom.status(message).state is State.SCHEDULED
        assert wecom.status(message).state is State.CANCELLED

    def test_a_campaign_does_not_wait_for_a_commit_and_says_so(self) -> None:
        with transaction.atomic(), pytest.raises(LedgerError, match="after the transaction, or share the database"):
            wecom.campaign("payday", sender="hr", message=HELLO, recipients=["a"])
        assert wecom.campaign("payday", sender="hr", message=HELLO, recipients=["a"]).messages == 1


def test_other_producers_are_none_of_djangos_business(producer: Producer) -> None:
    with suppress(RolledBackError), transaction.atomic():
        message = producer.send("hr", HELLO, users=["zhangsan"])
        raise RolledBackError
    assert producer.status(message).state is State.SCHEDULED


@pytest.fixture
def settings_without_zones() -> Iterator[None]:
    with override_settings(USE_TZ=False):
        connection.close()
        yield
    connection.close()
