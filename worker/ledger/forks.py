"""Engines in a process that is forked: parent and child must not speak on the same connections."""

import os
import weakref

from sqlalchemy import Engine

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def safe_to_fork(engine: Engine) -> None:
    """Have each process that is forked from this one open connections of its own; those of the parent stay its own."""
    _engines.add(engine)


def _begin_anew() -> None:
    for engine in _engines:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_begin_anew)
