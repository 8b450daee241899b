"""The simulator's own addresses, `/simulator/...`: set it up, ask it what happened."""

import os
from collections.abc import Callable

import orjson

from worker.simulator.apps import App
from worker.simulator.faults import fault_from
from worker.simulator.rules import parameter
from worker.simulator.state import SimulatorState
from worker.simulator.wire import Request, response_bytes

PREFIX = "/simulator/"
LARGEST_PAGE = 10_000


class UnknownAddressError(Exception):
    """There is no such address, or not with this method."""


def control_response(state: SimulatorState, request: Request) -> bytes:
    """Answer one control request: 200 with JSON, 400 with `{"error": ...}`, 404."""
    try:
        content = _answer(state, request)
    except UnknownAddressError:
        status, content = 404, {"error": f"there is no {request.method.decode('latin-1')} {request.path}"}
    except (ValueError, TypeError, KeyError) as error:
        status, content = 400, {"error": str(error) or type(error).__name__}
    else:
        status = 200
    return response_bytes(status, orjson.dumps(content), keep_alive=request.keep_alive)


def _answer(state: SimulatorState, request: Request) -> object:
    name = request.path.removeprefix(PREFIX)
    if request.method == b"GET" and name in QUESTIONS:
        return QUESTIONS[name](state, request.query)
    if request.method == b"POST" and name in ORDERS:
        order = orjson.loads(request.body or b"{}")
        if not isinstance(order, dict):
            raise TypeError("the body must be a JSON object")
        return ORDERS[name](state, order)
    raise UnknownAddressError


def _health(state: SimulatorState, _query: str) -> object:
    return {"simulator": "wecom", "process_id": os.getpid(), "now": state.wecom.clock.now()}


def _counters(state: SimulatorState, _query: str) -> object:
    return state.counters()


def _deliveries(state: SimulatorState, query: str) -> object:
    since, limit = _page(query)
    page = state.wecom.record.page(since, limit)
    return {"deliveries": page, "next": since + len(page), "total": len(state.wecom.record)}


def _served(state: SimulatorState, query: str) -> object:
    since, limit = _page(query)
    total = len(state.wecom.record)
    shown = state.wecom.record.shown(since, limit, include_recalled=parameter(query, "recalled") != "0")
    return {"served": shown, "next": min(since + limit, max(total, since)), "total": total}


def _page(query: str) -> tuple[int, int]:
    since, limit = int(parameter(query, "since") or 0), int(parameter(query, "limit") or LARGEST_PAGE)
    if since < 0 or limit < 1:
        raise ValueError("since counts from 0, and limit is at least 1")
    return since, min(limit, LARGEST_PAGE)


def _uploads(state: SimulatorState, query: str) -> object:
    since, limit = _page(query)
    uploads = state.wecom.media.uploads
    return {"uploads": uploads[since : since + limit], "total": len(uploads)}


def _card_updates(state: SimulatorState, query: str) -> object:
    since, limit = _page(query)
    updates = state.wecom.card_updates.updates
    return {"card_updates": updates[since : since + limit], "total": len(updates)}


def _apps(state: SimulatorState, _query: str) -> object:
    return {"apps": state.wecom.apps.apps}


def _faults(state: SimulatorState, _query: str) -> object:
    return {"faults": state.faults.listed()}


def _clock(state: SimulatorState, _query: str) -> object:
    return {"now": state.wecom.clock.now(), "frozen": state.wecom.clock.frozen}


def _settings(state: SimulatorState, _query: str) -> object:
    return state.wecom.settings


def _add_app(state: SimulatorState, order: dict[str, object]) -> object:
    app = App(**order)  # type: ignore[arg-type]  # checked in the next lines
    if not all(isinstance(text, str) and text for text in (app.corpid, app.secret)):
        raise TypeError("corpid and secret are texts")
    if not all(type(number) is int and number >= 0 for number in (app.agentid, app.account_cap)):
        raise TypeError("agentid and account_cap are whole numbers")
    if type(app.callback_url) is not bool:
        raise TypeError("callback_url is true or false")
    state.wecom.apps.add(app)
    return app


def _add_fault(state: SimulatorState, order: dict[str, object]) -> object:
    fault = fault_from(order)
    state.faults.add(fault)
    return fault


def _clear_faults(state: SimulatorState, order: dict[str, object]) -> object:
    state.faults.clear(seed=_whole(order, "seed", 0))
    return {}


def _set_clock(state: SimulatorState, order: dict[str, object]) -> object:
    clock = state.wecom.clock
    if "at" in order:
        clock.set(_number(order, "at"), frozen=bool(order.get("frozen")))
    if "advance" in order:
        clock.advance(_number(order, "advance"))
    return _clock(state, "")


def _change_settings(state: SimulatorState, order: dict[str, object]) -> object:
    state.wecom.settings.change(order)
    return state.wecom.settings


def _end_tokens(state: SimulatorState, order: dict[str, object]) -> object:
    errcode = _whole(order, "errcode", 40014)
    agentid = order.get("agentid")
    ended = state.wecom.apps.end_tokens(
        errcode, corpid=_text(order, "corpid"), agentid=agentid if isinstance(agentid, int) else None
    )
    return {"ended": ended}


def _end_media(state: SimulatorState, order: dict[str, object]) -> object:
    errcode = _whole(order, "errcode", 40007)
    media = state.wecom.media
    return {"ended": media.end(errcode, media_id=_text(order, "media_id"), corpid=_text(order, "corpid"))}


def _reset(state: SimulatorState, _order: dict[str, object]) -> object:
    state.reset()
    return {}


def _text(order: dict[str, object], name: str) -> str | None:
    value = order.get(name)
    return value if isinstance(value, str) else None


def _whole(order: dict[str, object], name: str, default: int) -> int:
    value = order.get(name, default)
    if type(value) is not int:
        raise TypeError(f"{name} is a whole number")
    return value


def _number(order: dict[str, object], name: str) -> float:
    value = order[name]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds")
    return float(value)


QUESTIONS: dict[str, Callable[[SimulatorState, str], object]] = {
    "health": _health,
    "counters": _counters,
    "deliveries": _deliveries,
    "served": _served,
    "uploads": _uploads,
    "card-updates": _card_updates,
    "apps": _apps,
    "faults": _faults,
    "clock": _clock,
    "settings": _settings,
}
"""GET; all lists take `since` and `limit`, and served `recalled=0`."""

ORDERS: dict[str, Callable[[SimulatorState, dict[str, object]], object]] = {
    "apps": _add_app,
    "faults": _add_fault,
    "faults/clear": _clear_faults,
    "clock": _set_clock,
    "settings": _change_settings,
    "tokens/end": _end_tokens,
    "media/end": _end_media,
    "reset": _reset,
}
"""POST with a JSON object."""
