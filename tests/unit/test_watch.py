"""The watch over a process: what it takes for work, what for standing still, and how it ends what hangs."""

import threading
from collections.abc import Callable

import pytest
from celery.signals import task_postrun, task_prerun

from worker import tasks, watch
from worker.watch import LEAVING_LOOKS, STATUS, STILL_LOOKS, MainLoop, Watch, WorkUnderWay

STUCK_SECONDS = 300


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def under_way(clock: Clock) -> WorkUnderWay:
    return WorkUnderWay(clock)


@pytest.fixture
def loop() -> MainLoop:
    return MainLoop()


@pytest.fixture
def let_stay() -> threading.Event:
    return threading.Event()


@pytest.fixture
def watching(loop: MainLoop, under_way: WorkUnderWay, let_stay: threading.Event) -> Watch:
    return Watch(loop, under_way, STUCK_SECONDS, 10, let_stay.set)


def in_a_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_loop_that_turns_is_left_alone(watching: Watch, loop: MainLoop) -> None:
    for _ in range(3 * STILL_LOOKS):
        loop.turned()
        assert watching.look() is None


def test_a_loop_that_stands_still_for_long_is_a_reason_to_end(watching: Watch) -> None:
    assert [watching.look() for _ in range(STILL_LOOKS - 1)] == [None] * (STILL_LOOKS - 1)
    assert watching.look() == "the main loop has stood still for 120 s"


def test_a_process_that_slept_for_an_hour_has_not_stood_still(watching: Watch, clock: Clock) -> None:
    watching.look()
    clock.now += 3600
    assert watching.look() is None


def test_a_task_that_takes_its_time_is_no_reason(watching: Watch, under_way: WorkUnderWay, clock: Clock) -> None:
    in_a_thread(under_way.begin)
    clock.now = STUCK_SECONDS
    assert watching.look() is None


def test_a_task_that_hangs_is_a_reason_however_many_others_work(
    watching: Watch, loop: MainLoop, under_way: WorkUnderWay, clock: Clock
) -> None:
    in_a_thread(under_way.begin)
    clock.now = STUCK_SECONDS + 1
    loop.turned()
    under_way.begin()
    under_way.end()
    assert watching.look() == "a task has been under way for 301 s and must hang"


def test_a_loop_that_carries_out_a_task_itself_does_not_stand_still(watching: Watch, under_way: WorkUnderWay) -> None:
    under_way.begin()
    assert [watching.look() for _ in range(STILL_LOOKS)] == [None] * STILL_LOOKS


def test_a_process_that_is_to_stop_is_waited_for_while_it_works_and_not_much_longer(
    watching: Watch, under_way: WorkUnderWay
) -> None:
    done = threading.Event()
    begun = threading.Event()

    def work() -> None:
        under_way.begin()
        begun.set()
        done.wait()
        under_way.end()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    watching.leave()
    assert [watching.look() for _ in range(2 * LEAVING_LOOKS)] == [None] * (2 * LEAVING_LOOKS)
    done.set()
    thread.join()
    assert [watching.look() for _ in range(LEAVING_LOOKS - 1)] == [None] * (LEAVING_LOOKS - 1)
    assert watching.look() == "the main loop has stood still for 15 s"


def test_what_hangs_is_ended_with_one_line_after_what_it_has_claimed_was_given_back(
    watching: Watch,
    let_stay: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    eventually: Callable[..., None],
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr("os._exit", ended.append)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    watching.start()
    eventually(lambda: ended)
    assert ended == [STATUS]
    assert let_stay.is_set()
    [line] = caplog.messages
    assert line.endswith("this process ends, and whoever supervises it starts it anew")


def test_a_process_with_nothing_to_do_waits_for_nothing(under_way: WorkUnderWay, clock: Clock) -> None:
    under_way.begin()
    under_way.end()
    under_way.end()  # the signal of a task that began before this was watched
    clock.now = 100
    assert under_way.longest() == 0


def test_celery_tells_what_is_under_way() -> None:
    task_prerun.send(sender=None)
    assert tasks.under_way.longest() > 0
    task_postrun.send(sender=None)
    assert tasks.under_way.longest() == 0
