"""Runs the benchmarks, prints a table, and writes `benchmarks/results.json`."""

import sys
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks import send_path, simulator_speed

BENCHMARKS = {"send_path": send_path.measure, "simulator_speed": simulator_speed.measure}
RESULTS = Path(__file__).with_name("results.json")


def main(names: list[str]) -> None:
    """Run the named benchmarks, or all."""
    console = Console()
    results: dict[str, dict[str, float]] = {}
    for name in names or BENCHMARKS:
        console.print(f"{name} ...", style="dim")
        results[name] = BENCHMARKS[name]()
    table = Table("benchmark", "figure", "value")
    for name, figures in results.items():
        for figure, value in figures.items():
            table.add_row(name, figure, f"{value:,.2f}" if value < 1000 else f"{value:,.0f}")
    console.print(table)
    RESULTS.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main(sys.argv[1:])
