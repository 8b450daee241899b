"""The sign of life: what makes it fresh, what does not, and how it is read."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker import liveness
from worker.liveness import STALE_SECONDS, TOUCH_SECONDS, LifeSign, LivenessError, age_of_life_sign, main
from worker.settings import load_settings

LONG_AGO = 1_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alive"


@pytest.fixture
def life_sign(file: Path) -> Iterator[LifeSign]:
    life_sign = LifeSign(file)
    yield life_sign
    life_sign.stop()


def age(file: Path) -> None:
    os.utime(file, (LONG_AGO, LONG_AGO))


def fresh(file: Path) -> bool:
    return file.stat().st_mtime > LONG_AGO


def test_the_sign_is_there_at_once_and_gone_with_the_process(life_sign: LifeSign, file: Path) -> None:
    life_sign.start()
    assert file.exists()
    life_sign.stop()
    assert not file.exists()


def test_a_thread_of_its_own_renews_the_sign(
    life_sign: LifeSign, file: Path, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    monkeypatch.setattr(liveness, "TOUCH_SECONDS", 0.01)
    life_sign.start()
    age(file)
    eventually(lambda: fresh(file))


def test_the_thread_ends_when_it_is_told_to_and_never_holds_up_the_process(life_sign: LifeSign) -> None:
    life_sign.start()
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "wecom-liveness"]
    assert thread.daemon
    life_sign.stop()
    assert not thread.is_alive()


def test_a_file_that_cannot_be_written_is_a_clear_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(LivenessError, match=r"^WECOM_LIVENESS_FILE: .*/missing/alive cannot be written"):
        LifeSign(tmp_path / "missing" / "alive").start()


def test_a_file_that_cannot_be_written_later_is_a_warning_and_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LifeSign(tmp_path / "missing" / "alive").show()
    assert "cannot be written" in caplog.text


def test_a_sign_survives_several_turns_that_come_late() -> None:
    assert STALE_SECONDS >= 3 * TOUCH_SECONDS


def test_a_fresh_file_is_life(file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    file.touch()
    monkeypatch.setenv("WECOM_LIVENESS_FILE", str(file))
    main()
    assert capsys.readouterr().out.startswith("alive: touched ")


@pytest.mark.parametrize("seconds", [-STALE_SECONDS - 5, STALE_SECONDS + 5], ids=["old", "from the future"])
def test_a_file_of_another_time_is_none(file: Path, seconds: float) -> None:
    file.touch()
    moment = time.time() + seconds
    os.utime(file, (moment, moment))
    with pytest.raises(LivenessError, match=f"^not alive: {file} was touched"):
        age_of_life_sign(load_settings(liveness_file=file))


def test_a_missing_file_is_none(file: Path) -> None:
    with pytest.raises(LivenessError, match=f"^not alive: {file} cannot be read"):
        age_of_life_sign(load_settings(liveness_file=file))


def test_without_the_setting_nobody_claims_to_know() -> None:
    with pytest.raises(LivenessError, match="WECOM_LIVENESS_FILE is not set"):
        age_of_life_sign(load_settings())


@pytest.mark.parametrize("settings", [{}, {"WECOM_LIVENESS_FILE": "/nowhere/alive"}, {"WECOM_CHUNK": "none"}])
def test_the_command_fails_with_one_line(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, str)  # Python prints it to standard error and exits with 1
    assert "\n" not in caught.value.code
