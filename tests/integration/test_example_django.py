"""The example shop in Django, as somebody starts it from a fresh clone."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from worker.simulator.control import SimulatorControl

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "django_shop" / "run.py"


class Shop:
    """The shop in a terminal of its own."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "shop.log"
        self.settings = {"WECOM_HOME": str(directory / "home"), "WECOM_QUIET_BEFORE": "0", "WECOM_QUIET_AFTER": "0"}
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT)],
                env=os.environ | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def address(self, words: str) -> str | None:
        """The address behind these words, once they are there."""
        assert self.process.poll() is None, self.output
        found = re.search(words + r".*?(http://127.0.0.1:\d+)", self.output)
        return found[1] if found else None


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    if shop.process.poll() is None:
        shop.process.terminate()
        shop.process.wait(30)


def test_who_orders_is_told_through_wecom_and_sees_it_on_the_page_of_the_order(
    shop: Shop, eventually: Callable[..., None]
) -> None:
    eventually(lambda: shop.address("the shop is open:"))
    address, wecom = shop.address("the shop is open:"), shop.address("what the local WeCom was sent:")
    assert address is not None
    assert wecom is not None
    with requests.Session() as browser, SimulatorControl(wecom) as control:
        browser.trust_env = False
        refused = browser.post(f"{address}/orders", data={"userid": "", "item": "Coffee"}, timeout=30)
        assert (refused.status_code, "users" in refused.text) == (400, True)
        answer = browser.post(f"{address}/orders", data={"userid": "zhangsan", "item": "Coffee 咖啡"}, timeout=30)
        assert "Coffee 咖啡 for zhangsan" in answer.text
        eventually(lambda: "<strong>sent</strong>" in browser.get(answer.url, timeout=30).text)
        [told] = control.served()["zhangsan"]
        assert "Coffee 咖啡 is on its way" in told
        assert "Log in" in browser.get(f"{address}/admin/wecom_worker/message/", timeout=30).text
    tested = subprocess.run(
        [sys.executable, str(SCRIPT.with_name("manage.py")), "test", "shop", "--noinput"],
        env=os.environ | shop.settings,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert tested.returncode == 0, tested.stderr
    assert "Ran 2 tests" in tested.stderr
    shop.process.send_signal(signal.SIGINT)
    assert shop.process.wait(60) == 0, shop.output
    assert "Postgres and Redis stop" in shop.output
    assert "Traceback" not in shop.output
