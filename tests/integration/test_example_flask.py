"""The example of Flask, started as its README says, and used as a browser uses it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from worker.simulator.control import SimulatorControl

ROOT = Path(__file__).resolve().parents[2]


def test_an_order_in_the_shop_ends_as_a_message_at_the_local_wecom(
    environment: dict[str, str], eventually: Callable[..., None], tmp_path: Path
) -> None:
    log = tmp_path / "shop.log"
    # The rest of the line of make is where its packages were installed, which here are those of the test.
    assert "@$(BIN)/python examples/flask_app/run.py" in (ROOT / "Makefile").read_text(encoding="utf-8")
    with log.open("w") as output:
        shop = subprocess.Popen(
            [sys.executable, "examples/flask_app/run.py"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
    try:
        eventually(lambda: "curl" in log.read_text() or shop.poll() is not None)
        address = re.search(r"the shop is open: (\S+)", log.read_text())
        local_wecom = re.search(r"sent: (\S+)/simulator/deliveries", log.read_text())
        assert address, log.read_text()
        assert local_wecom, log.read_text()

        assert "<form" in requests.get(address[1], timeout=10).text
        answer = requests.post(f"{address[1]}/orders", {"userid": "zhangsan", "item": "咖啡 <b>"}, timeout=10)
        assert answer.url == f"{address[1]}/orders/1"
        assert "咖啡 &lt;b&gt; for zhangsan" in answer.text
        refused = requests.post(f"{address[1]}/orders", {"userid": "", "item": "x"}, timeout=10)
        assert (refused.status_code, refused.text[:20]) == (400, "users[0]: a userid h")

        with SimulatorControl(local_wecom[1]) as control:
            eventually(lambda: control.served() != {})
            (delivery,) = control.deliveries()
            assert set(control.served()) == {"zhangsan"}
        eventually(lambda: f"<strong>sent</strong>, as {delivery.msgid}" in requests.get(answer.url, timeout=10).text)
    finally:
        shop.send_signal(signal.SIGINT)
        assert shop.wait(60) == 0, log.read_text()
    assert "the local WeCom has stopped" in log.read_text()
