"""The log of a process while Postgres is away: a line for each kind of fault, and one when it is back."""

import pytest
from psycopg import OperationalError

from worker.delivery import absence as absence_module
from worker.delivery.absence import Absence

SILENT, REFUSED = OperationalError("the server does not answer"), OperationalError("refused\nIs it running?")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, as the first element."""
    now = [1000.0]
    monkeypatch.setattr(absence_module, "elapsed", lambda: now[0])
    return now


def test_each_kind_is_said_once_and_again_with_its_count_after_a_minute(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    absence = Absence()
    for second in range(150):
        now[0] = 1000.0 + second
        absence.met(SILENT)
        absence.met(REFUSED)
    absence.ended()
    absence.ended()
    assert caplog.messages == [
        "Postgres: the server does not answer; what needs it waits",
        "Postgres: refused; what needs it waits",
        "Postgres: the server does not answer (and 59 times since that was said last); what needs it waits",
        "Postgres: refused (and 59 times since that was said last); what needs it waits",
        "Postgres: the server does not answer (and 59 times since that was said last); what needs it waits",
        "Postgres: refused (and 59 times since that was said last); what needs it waits",
        "Postgres does as asked again, after 149 s and 300 faults",
    ]


def test_a_postgres_that_comes_and_goes_does_not_fill_the_log(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    absence = Absence()
    for second in range(59):
        now[0] = 1000.0 + second
        absence.met(SILENT)
        absence.ended()
    assert len(caplog.messages) == 2
