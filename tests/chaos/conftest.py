"""How hard the chaos is: `make chaos` runs it at length, `make test` a short form of it."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the chaos."""
    parser.addoption("--chaos", choices=("short", "long"), default="short", help="how many messages and faults")
    parser.addoption("--seeds", type=int, default=1, help="how many different courses of events")
    parser.addoption("--only", default="", help="the faults of plan.py that happen; without it all")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test once for each seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(1, metafunc.config.getoption("--seeds") + 1))
