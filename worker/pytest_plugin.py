"""Fixtures for the tests of programs that send; pytest finds them wherever wecom-worker is installed.

This module is imported by every run of pytest there, so it imports nothing before a fixture is asked for.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from worker.simulator.control import SimulatorControl
    from worker.testing import Outbox


@pytest.fixture
def wecom_outbox() -> "Iterator[Outbox]":
    """What producers are asked to send, in a list; nothing is stored or sent (`worker.testing.captured`)."""
    from worker.testing import captured

    with captured() as outbox:
        yield outbox


@pytest.fixture(scope="session")
def _wecom_simulator_process() -> "Iterator[SimulatorControl]":
    from worker.simulator.process import running_simulator

    with running_simulator() as control:
        yield control


@pytest.fixture
def wecom_simulator(
    _wecom_simulator_process: "SimulatorControl", monkeypatch: pytest.MonkeyPatch
) -> "SimulatorControl":
    """A local WeCom, as new; what this test starts sends there, from the sender `default`."""
    from worker.simulator.apps import NEWCOMER

    _wecom_simulator_process.reset()
    monkeypatch.setenv("WECOM_API_BASE_URL", _wecom_simulator_process.base_url)
    monkeypatch.setenv("WECOM_PROXY", "")
    monkeypatch.setenv("WECOM_CORPID", NEWCOMER.corpid)
    monkeypatch.setenv("WECOM_CORPSECRET", NEWCOMER.secret)
    monkeypatch.setenv("WECOM_AGENTID", str(NEWCOMER.agentid))
    return _wecom_simulator_process
