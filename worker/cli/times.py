"""Times as people read them, and as they write them."""

import re
from datetime import datetime, timedelta

import click

UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def local(time: datetime) -> str:
    """Write a time in the zone of this machine."""
    return time.astimezone().isoformat(sep=" ", timespec="seconds")


def relative(time: datetime, now: datetime) -> str:
    """Say how long ago or how far ahead a time is, in its largest unit."""
    seconds = round((time - now).total_seconds())
    for unit, length in UNITS:
        number = abs(seconds) // length
        if number:
            amount = f"{number} {unit}{'s' if number > 1 else ''}"
            return f"in {amount}" if seconds > 0 else f"{amount} ago"
    return "now"


def when(time: datetime, now: datetime) -> str:
    """Write a time both ways."""
    return f"{local(time)} ({relative(time, now)})"


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """Read an option that is an ISO 8601 time and says in which zone it is.

    Raises:
        click.BadParameter: it is no time, or has no zone.
    """
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no ISO 8601 time like 2026-11-20T09:00:00+08:00") from None
    if read.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone; add one: {read.isoformat()}+08:00")
    return read


def duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> timedelta | None:
    """Read an option like 90s, 30m, 2h or 1d.

    Raises:
        click.BadParameter: it is no duration.
    """
    if value is None:
        return None
    lengths = {unit[0]: length for unit, length in UNITS}
    if not re.fullmatch(f"[0-9]{{1,9}}[{''.join(lengths)}]", value):
        raise click.BadParameter(f"{value!r} is no duration; write it like 90s, 30m, 2h or 1d")
    return timedelta(seconds=int(value[:-1]) * lengths[value[-1]])


def amount(length: timedelta) -> str:
    """Write a duration in the largest unit that divides it."""
    seconds = round(length.total_seconds())
    unit, one = next((unit, one) for unit, one in UNITS if seconds % one == 0)
    return f"{seconds // one} {unit}{'s' if seconds // one != 1 else ''}"
