"""The Flask extension: a producer for each app, its configuration, its commands, its transactions."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from killed_programs import prove
from sqlalchemy.orm import Mapped, mapped_column

from worker import LedgerError, Producer, State, Text
from worker.integrations.flask import WeCom
from worker.ledger import Ledger
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import SettingsError
from worker.simulator.control import SimulatorControl

TESTS = Path(__file__).resolve().parents[1]
HELLO = Text(content="你好, Hello")

db = SQLAlchemy()
wecom = WeCom()


class Order(db.Model):  # type: ignore[name-defined, misc]
    """What an app has of its own."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    message_id: Mapped[UUID]


@pytest.fixture
def app(environment: dict[str, str], ledger: Ledger) -> Iterator[Flask]:
    """An app with a database; the environment of its process names no servers."""
    assert ledger.senders.names() == ["hr"]
    app = Flask("shop")
    app.config.update(environment, SQLALCHEMY_DATABASE_URI=environment["WECOM_DATABASE_URL"])
    db.init_app(app)
    wecom.init_app(app)

    @app.post("/orders/<ending>")
    def order(ending: str) -> str:
        message_id = wecom.send("hr", HELLO, users=["zhangsan"], connection=db.session)
        db.session.add(Order(message_id=message_id))
        if ending == "commit":
            db.session.commit()
        if ending == "break":
            raise ZeroDivisionError
        return str(message_id)

    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        wecom.close()
        for engine in db.engines.values():
            engine.dispose()


def test_an_order_and_its_message_are_stored_together(app: Flask, ledger: Ledger) -> None:
    message_id = app.test_client().post("/orders/commit").text
    with app.app_context():
        assert wecom.status(message_id).state is State.SCHEDULED
        assert [order.message_id for order in db.session.query(Order)] == [UUID(message_id)]
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


@pytest.mark.parametrize("ending", ["forget", "break"])
def test_a_request_that_does_not_commit_has_sent_nothing(app: Flask, ledger: Ledger, ending: str) -> None:
    app.test_client().post(f"/orders/{ending}")
    with app.app_context():
        assert db.session.query(Order).count() == 0
    assert ledger.history.counts("hr") == {}


def test_every_method_of_a_producer_is_there(app: Flask, ledger: Ledger) -> None:
    with app.app_context():
        assert isinstance(wecom, Producer)
        wecom.campaign(
            "payday", sender="hr", message=Text(content="{{ name }}"), recipients=[{"userid": "a", "name": 1}]
        )
        assert wecom.recall(campaign="payday").messages == 1
        assert wecom.rehearse_campaign("x", sender="hr", message=HELLO, recipients=["a", "b"]).messages == 1
    assert ledger.history.counts("hr") == {State.CANCELLED: 1}


def test_two_apps_in_one_process_have_their_own_servers(app: Flask) -> None:
    other = Flask("other")
    other.config.update(
        WECOM_DATABASE_URL="postgresql://me:pass-word@127.0.0.1:1/x", WECOM_REDIS_URL="redis://127.0.0.1:1"
    )
    wecom.init_app(other)
    with other.app_context(), pytest.raises(LedgerError, match="Postgres cannot be reached"):
        wecom.send("hr", HELLO, users=["zhangsan"])
    with app.app_context():
        assert wecom.send("hr", HELLO, users=["zhangsan"])


def test_the_configuration_wins_over_the_environment(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_DATABASE_URL", "postgresql://me@127.0.0.1:1/x")
    monkeypatch.setenv("WECOM_CHUNK", "7")
    factory_made = Flask("factory")
    factory_made.config.update({name: app.config[name] for name in ("WECOM_DATABASE_URL", "WECOM_REDIS_URL")})
    extension = WeCom(factory_made)
    with factory_made.app_context():
        assert extension.send("hr", HELLO, users=["zhangsan"])
        assert factory_made.extensions["wecom"].settings.chunk == 7
        extension.close()


def test_a_setting_that_cannot_be_used_stops_the_app_in_a_sentence() -> None:
    app = Flask("shop")
    app.config["WECOM_CHUNK"] = 0
    with pytest.raises(SettingsError, match=r"^WECOM_CHUNK: must be at least 1$"):
        WeCom(app)


def test_a_name_that_is_no_setting_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("shop")
    app.config["WECOM_DATABASE_URI"] = "postgresql://me:pass-word@host/x"
    with caplog.at_level(logging.WARNING):
        WeCom(app)
    (line,) = caplog.messages
    assert line == "no setting, so without effect: WECOM_DATABASE_URI (did you mean WECOM_DATABASE_URL?)"


def test_an_app_that_was_not_prepared_is_told_what_to_do() -> None:
    with Flask("shop").app_context(), pytest.raises(RuntimeError, match=r"call wecom\.init_app\(app\)"):
        wecom.status("01a1f85b-87ae-723f-8650-d5ce96ae60a0")


def flask_wecom(*arguments: str, **configuration: str) -> subprocess.CompletedProcess[str]:
    Path("shop.py").write_text(
        "from flask import Flask\nfrom worker.integrations.flask import WeCom\n"
        f"app = Flask('shop')\napp.config.update({configuration!r})\nWeCom(app)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "flask", "--app", "shop", "wecom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_commands_have_the_settings_of_the_app(environment: dict[str, str], ledger: Ledger) -> None:
    sent = flask_wecom("send", "hr", "--text", "你好", "--user", "zhangsan", **environment)
    assert sent.returncode == 0, sent.stderr
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}
    refused = flask_wecom("send", "nobody", "--text", "你好", "--user", "zhangsan", **environment)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("Error: ")
    assert "senders" in flask_wecom("--help").stdout


def test_the_app_of_the_documentation_takes_an_order(
    environment: dict[str, str], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.senders.add(Sender("hr-notices", "wecom", 1000002, {"corpid": "ww-simulator", "corpsecret": "-"}))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    page = (TESTS.parent / "docs" / "flask.md").read_text(encoding="utf-8")
    documented = ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", documented)
    exec(page.split("```python\n")[1].split("```")[0], vars(documented))
    app = documented.create_app()
    with app.app_context():
        documented.db.create_all()
    message_id = app.test_client().post("/orders", data={"userid": "zhangsan"}).text
    with app.app_context():
        assert documented.wecom.status(message_id).body["text"] == {"content": "Order 1 is on its way"}
        documented.wecom.close()
        documented.db.engine.dispose()


def test_flask_is_needed_only_by_those_who_use_it() -> None:
    program = "import sys, worker.producer, worker.cli, worker.integrations; assert 'flask' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
    without = "import sys; sys.modules['flask'] = None; import worker.integrations.flask"
    told = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert told.stderr.splitlines()[-1] == 'ImportError: Flask is not installed; pip install "wecom-worker[flask]"'


def test_of_hundreds_of_requests_of_an_app_killed_again_and_again_exactly_the_committed_ones_are_delivered(
    environment: dict[str, str],
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    start(BEAT)
    prove(TESTS / "killed_flask.py", os.environ | environment, ledger, simulator, eventually)
