"""Tests of a project, run by Django: what is sent is in `wecom.outbox`, and nowhere else."""

import unittest
from collections.abc import Callable
from contextlib import suppress

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import transaction
from django.test import SimpleTestCase, TestCase
from django.test.utils import setup_test_environment, teardown_test_environment

from worker import InvalidMessage, State, Text
from worker.integrations.django import wecom
from worker.ledger import Ledger
from worker.testing import CapturedMessage, captured

HELLO = Text(content="hello")
Project = Callable[..., None]

pytestmark = pytest.mark.usefixtures("project")


class OfAProject(TestCase):
    """Tests as a project writes them; Django runs them, not pytest."""

    __test__ = False

    def test_a_order_is_announced_once_it_is_committed(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            message = wecom.send("shop", HELLO, users=["zhangsan"], idempotency_key="order 1")
            again = wecom.send("shop", HELLO, users=["zhangsan"], idempotency_key="order 1")
            assert again == message
            assert wecom.outbox == []
        [sent] = wecom.outbox
        assert isinstance(sent, CapturedMessage)
        assert (sent.id, sent.sender, sent.message, sent.users) == (message, "shop", HELLO, ("zhangsan",))
        assert wecom.status(message).state == State.SCHEDULED
        wecom.recall(message)
        assert sent.recalled

    def test_b_what_is_rolled_back_is_not_in_the_outbox_which_began_empty(self) -> None:
        with self.captureOnCommitCallbacks(execute=True), suppress(ZeroDivisionError), transaction.atomic():
            wecom.send("shop", HELLO, users=["zhangsan"])
            raise ZeroDivisionError
        assert wecom.outbox == []

    def test_c_without_a_commit_nothing_is_in_the_outbox(self) -> None:
        wecom.campaign("payday", sender="shop", message=HELLO, recipients=["a"])
        assert wecom.outbox == []
        with self.captureOnCommitCallbacks(execute=True):
            wecom.campaign("payday again", sender="shop", message=HELLO, recipients=["a"])
        assert [one.sender for one in wecom.outbox] == ["shop"]

    def test_d_what_cannot_be_sent_is_refused(self) -> None:
        with pytest.raises(InvalidMessage):
            wecom.send("shop", HELLO)


class WithoutDatabase(SimpleTestCase):
    """Tests that may not use the database."""

    __test__ = False

    def test_what_is_sent_is_in_the_outbox_at_once(self) -> None:
        wecom.send("shop", HELLO, users=["zhangsan"])
        assert len(wecom.outbox) == 1

    def test_an_outbox_of_ones_own_comes_first(self) -> None:
        with captured() as own:
            wecom.send("shop", HELLO, users=["zhangsan"])
        assert (len(own), wecom.outbox) == (1, [])


@pytest.mark.parametrize("case", [OfAProject, WithoutDatabase])
def test_tests_run_by_django_capture_what_is_sent_and_each_begins_with_an_empty_outbox(
    ledger: Ledger, case: type[SimpleTestCase]
) -> None:
    setup_test_environment()
    try:
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    finally:
        teardown_test_environment()
    assert [trace for _, trace in (*result.errors, *result.failures)] == []
    assert result.testsRun == len([name for name in vars(case) if name.startswith("test_")])
    assert ledger.history.counts("hr") == {}


def test_who_wants_the_ledger_in_tests_can_have_it(project: Project) -> None:
    project(OUTBOX_IN_TESTS=False)
    setup_test_environment()
    try:
        assert wecom.status(wecom.send("hr", HELLO, users=["zhangsan"])).state is State.SCHEDULED
        assert wecom.outbox == []
    finally:
        teardown_test_environment()


def test_a_project_that_keeps_its_mails_in_memory_outside_of_tests_sends_messages_all_the_same() -> None:
    EmailBackend()
    try:
        assert mail.outbox == []
        assert wecom.status(wecom.send("hr", HELLO, users=["zhangsan"])).state is State.SCHEDULED
        with pytest.raises(AttributeError, match="only in Django's test environment"):
            _ = wecom.outbox
    finally:
        del mail.outbox


def test_in_tests_messages_are_captured_even_if_somebody_has_taken_the_outbox_for_mails_away(ledger: Ledger) -> None:
    setup_test_environment()
    mails = mail.outbox
    try:
        del mail.outbox
        wecom.send("hr", HELLO, users=["zhangsan"])
        assert len(wecom.outbox) == 1
    finally:
        mail.outbox = mails
        teardown_test_environment()
    assert ledger.history.counts("hr") == {}


def test_outside_of_tests_there_is_no_outbox() -> None:
    with pytest.raises(AttributeError, match="only in Django's test environment"):
        _ = wecom.outbox
