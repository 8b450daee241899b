"""Runs the benchmarks, prints a table, and writes `benchmarks/results.json`."""

import argparse
from collections.abc import Callable
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks import (
    cards,
    enqueue,
    lag,
    large_ledger,
    migration,
    million,
    send_path,
    simulator_speed,
    throughput,
    tls,
)

BENCHMARKS: dict[str, Callable[..., dict[str, float]]] = {
    "send_path": send_path.measure,
    "cards": cards.measure,
    "throughput": throughput.measure,
    "tls": tls.measure,
    "enqueue": enqueue.measure,
    "million": million.measure,
    "lag": lag.measure,
    "large_ledger": large_ledger.measure,
    "migration": migration.measure,
    "simulator_speed": simulator_speed.measure,
}
RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small numbers: shows that it runs, not how fast")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    console = Console()
    results: dict[str, dict[str, float]] = {}
    for name in arguments.names or BENCHMARKS:
        console.print(f"{name} ...", style="dim")
        results[name] = BENCHMARKS[name](quick=arguments.quick)
    table = Table("benchmark", "figure", "value")
    for name, figures in results.items():
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,.2f}" if value < 1000 else f"{value:,.0f}")
    console.print(table)
    RESULTS.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
