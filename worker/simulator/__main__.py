"""`python -m worker.simulator`: a local WeCom from the command line."""

import argparse
import sys
from collections.abc import Iterable

import orjson

from worker.simulator.apps import App, app_from_text
from worker.simulator.service import introduce, run


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m worker.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0, the default, lets the system choose")
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address")
    parser.add_argument(
        "--app", type=app_from_text, action="append", default=[], metavar="CORPID:SECRET:AGENTID[:ACCOUNT_CAP]"
    )
    parser.add_argument("--announce-json", action="store_true", help="say where it listens as one line of JSON")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when standard input ends")
    options = parser.parse_args()
    try:
        run(
            options.port,
            host=options.host,
            apps=options.app,
            announce=announce_as_json if options.announce_json else introduce,
            until_stdin_closes=options.until_stdin_closes,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"The simulator cannot listen on {options.host}:{options.port}: {error}")


def announce_as_json(base_url: str, _apps: Iterable[App]) -> None:
    """Write `{"base_url": ...}` on one line for the process that started this one."""
    sys.stdout.write(orjson.dumps({"base_url": base_url}).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
