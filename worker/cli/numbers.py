"""Options and arguments that are numbers, refused in plain words."""

from typing import Any

import click


class WholeNumber(click.IntRange):
    """A whole number within bounds, if there are any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's
        """Read the number."""
        try:
            int(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


class Number(click.FloatRange):
    """A number within bounds, if there are any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401 - click's
        """Read the number."""
        try:
            float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        number: float = super().convert(value, param, ctx)
        return number
