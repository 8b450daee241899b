"""The fixtures for pytest that come with the package, as the tests of another project use them."""

import re
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
EXAMPLES: dict[str, str] = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
GUARD = """
import sys

def refuse(event, arguments):
    if event == "socket.connect" and arguments[1][0] != "127.0.0.1":
        raise AssertionError(f"a connection to {arguments[1]}")
    if event == "subprocess.Popen" and "worker.simulator" not in arguments[1]:
        raise AssertionError(f"a process: {arguments[1]}")

sys.addaudithook(refuse)
"""
"""Ends a test that reaches a server, or starts one other than the local WeCom."""


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Another project's directory, with the program of the documentation."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    (pytester.path / "signup.py").write_text(EXAMPLES["signup.py"], encoding="utf-8")
    return pytester


def test_the_tests_of_the_documentation_pass_without_servers_and_network(project: pytest.Pytester) -> None:
    project.makeconftest(GUARD)
    (project.path / "test_signup.py").write_text(EXAMPLES["test_signup.py"], encoding="utf-8")
    run(project).assert_outcomes(passed=3)


def test_the_block_of_the_documentation_needs_no_pytest(project: pytest.Pytester) -> None:
    (project.path / "by_hand.py").write_text(GUARD + EXAMPLES["by_hand.py"], encoding="utf-8")
    assert project.runpython("by_hand.py").ret == 0


def test_the_delivery_of_the_documentation_arrives(project: pytest.Pytester) -> None:
    for name in ("conftest.py", "test_delivery.py"):
        (project.path / name).write_text(EXAMPLES[name], encoding="utf-8")
    run(project).assert_outcomes(passed=1)


def test_every_test_meets_a_local_wecom_as_new_and_both_fixtures_go_together(project: pytest.Pytester) -> None:
    project.makeconftest(GUARD)
    project.makepyfile(
        """
        import os

        import pytest
        import requests
        from signup import welcome

        @pytest.mark.parametrize("round", [1, 2])
        def test_both(wecom_outbox, wecom_simulator, round):
            welcome("zhangsan", "Zhang San")
            wecom = os.environ["WECOM_API_BASE_URL"]
            assert wecom == wecom_simulator.base_url
            secret = {"corpid": os.environ["WECOM_CORPID"], "corpsecret": os.environ["WECOM_CORPSECRET"]}
            token = requests.get(f"{wecom}/cgi-bin/gettoken", secret).json()["access_token"]
            body = {
                "touser": wecom_outbox[0].users[0],
                "agentid": int(os.environ["WECOM_AGENTID"]),
                **wecom_outbox[0].message.body(),
            }
            requests.post(f"{wecom}/cgi-bin/message/send", params={"access_token": token}, json=body)
            assert wecom_simulator.served() == {"zhangsan": ["Welcome, Zhang San!"]}
            assert len(wecom_outbox) == 1

        def test_neither():
            assert "WECOM_API_BASE_URL" not in os.environ
        """
    )
    run(project).assert_outcomes(passed=3)


def test_a_run_that_asks_for_no_fixture_loads_none_of_our_libraries(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_loaded():
            ours = [name for name in sys.modules if name.split(".")[0] == "worker"]
            assert sorted(ours) == ["worker", "worker.pytest_plugin"]
            assert {"celery", "sqlalchemy", "redis", "pydantic", "requests"}.isdisjoint(sys.modules)
        """
    )
    run(project).assert_outcomes(passed=1)
