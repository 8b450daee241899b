"""`wecom explain`."""

import click

from worker.cli.numbers import WholeNumber
from worker.cli.output import console, json_option, print_json, shown
from worker.providers.base import Category
from worker.providers.wecom import errcodes


# -1 is an errcode, and must not be taken for an option.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("code", type=WholeNumber())
@json_option
def explain(code: int, *, as_json: bool) -> None:
    """Say what an errcode of WeCom means, what the worker does about it and what you can do: `wecom explain 60020`."""
    if as_json:
        print_json(_facts(code))
    else:
        console().print(shown(errcodes.explain(code)))


def _facts(code: int) -> dict[str, object]:
    errcode = errcodes.ERRCODES.get(code)
    if errcode is None:
        worker_does = None if code == 0 else errcodes.UNLISTED_BEHAVIOUR
        meaning, retry, advice = None, None, None
        page = errcodes.OFFICIAL_PAGE if code == 0 else errcodes.QUERY_PAGE.format(code=code)
    else:
        worker_does = errcodes.behaviour_of(errcode)
        meaning, retry, advice = errcode.meaning, errcode.retry, errcode.advice
        page = errcodes.OFFICIAL_PAGE
    return {
        "code": code,
        "known": errcode is not None or code == 0,
        "meaning": meaning,
        "category": Category.ACCEPTED if code == 0 else errcodes.category_of(code),
        "retry": retry,
        "worker": worker_does,
        "advice": advice,
        "page": page,
    }
