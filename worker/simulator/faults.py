"""Faults on demand: which call is spoilt, and how."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from worker.simulator.rules import parameter

ENDPOINTS = ("gettoken", "send", "recall", "upload", "uploadimg", "update_card")

KINDS = {
    "errcode": "answers `errcode`",
    "latency": "answers `seconds` later",
    "http": "answers an HTML page under HTTP `status`",
    "html": "answers an HTML page under HTTP 200",
    "cut": "carries the call out and answers half of the JSON",
    "cut_before": "answers half of a JSON that looks like success, without carrying the call out",
    "reset_before": "resets the connection (TCP RST) without carrying the call out",
    "reset_after": "carries the call out, then resets the connection",
    "hang_before": "never answers and does not carry the call out; the connection stays",
    "hang_after": "carries the call out and never answers; the connection stays",
    "token_expired": "ends the token the call used and answers 42001",
}
"""Every kind of fault and what it does."""

_CARRIED_OUT = ("cut", "reset_after", "hang_after")


@dataclass(slots=True)
class Fault:
    """One entry of the plan.

    Attributes:
        kind: one of `KINDS`.
        endpoint: one of `ENDPOINTS` or `any`.
        probability: how likely a matching call is spoilt, 0 to 1, drawn from the plan's seed.
        times: at most so many calls are spoilt; None is no end.
        after: the first so many matching calls are left alone (`after=4, times=1` is the fifth call).
        match: only calls with these values: `user` (among touser or userids), `content` (a part of it),
            `agentid`, `msgtype`, `corpid` (of gettoken), `msgid` (of recall), `response_code` (of update_card),
            `type` (of upload).
        errcode: for kind errcode; any number, -1 by default.
        seconds: for kind latency.
        status: for kind http.
        processed: errcode, http and html: whether the call is carried out first.
        whole_length: cut: Content-Length announces the whole JSON and the connection ends in the middle; otherwise it
            announces the half, which is then a complete HTTP answer with broken JSON.
        fired: how often it has spoilt a call; counted here.
        seen: how many calls matched; counted here.
    """

    kind: str
    endpoint: str = "any"
    probability: float = 1.0
    times: int | None = None
    after: int = 0
    match: dict[str, str | int] = field(default_factory=dict)
    errcode: int = -1
    seconds: float = 0.0
    status: int = 502
    processed: bool = False
    whole_length: bool = False
    fired: int = 0
    seen: int = 0

    @property
    def carries_out(self) -> bool:
        """Whether the call takes effect although its answer is spoilt."""
        return self.processed or self.kind in _CARRIED_OUT


def fault_from(description: Mapping[str, object]) -> Fault:
    """Read a fault from JSON.

    Raises:
        ValueError: the kind, the endpoint or a name is unknown.
        TypeError: a value has the wrong type.
    """
    unknown = set(description) - set(_TYPES)
    if unknown:
        raise ValueError(f"a fault has no {', '.join(sorted(unknown))}, only {', '.join(_TYPES)}")
    if description.get("kind") not in KINDS:
        raise ValueError(f"the kind of a fault is one of {', '.join(KINDS)}")
    if description.get("endpoint", "any") not in (*ENDPOINTS, "any"):
        raise ValueError(f"the endpoint of a fault is one of {', '.join(ENDPOINTS)} or any")
    for name, value in description.items():
        if not isinstance(value, _TYPES[name]):
            raise TypeError(f"{name} of a fault cannot be {value!r}")
    return Fault(**description)  # type: ignore[arg-type]  # checked above, by the table


_TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "endpoint": str,
    "probability": (int, float),
    "times": (int, type(None)),
    "after": int,
    "match": dict,
    "errcode": int,
    "seconds": (int, float),
    "status": int,
    "processed": bool,
    "whole_length": bool,
}


class FaultPlan:
    """All faults, in the order they were added."""

    def __init__(self) -> None:
        self._faults: list[tuple[Fault, random.Random]] = []
        self._seed = 0
        self.fired: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def add(self, fault: Fault) -> None:
        """Add a fault; it draws its luck from the seed and its place, whatever other faults there are."""
        chance = random.Random(f"{self._seed}:{len(self._faults)}")  # noqa: S311 - repeatable on purpose
        self._faults.append((fault, chance))

    def clear(self, *, seed: int = 0) -> None:
        """Drop all faults, and draw from another seed from now on."""
        self._faults.clear()
        self._seed = seed

    def reset(self) -> None:
        """Drop all faults, the seed and the counts."""
        self.clear()
        self.fired.clear()

    def listed(self) -> list[Fault]:
        """The faults with how often each was seen and fired."""
        return [fault for fault, _ in self._faults]

    def choose(self, endpoint: str, query: str, body: bytes) -> tuple[float, Fault | None]:
        """Decide one call: seconds of extra latency (they add up) and the first other fault that fires, if any."""
        latency = 0.0
        message: dict[str, object] | None = None
        for fault, chance in self._faults:
            if fault.endpoint not in (endpoint, "any"):
                continue
            if fault.match:
                message = _message(query, body) if message is None else message
                if not _matches(fault.match, message):
                    continue
            if not self._fires(fault, chance):
                continue
            if fault.kind != "latency":
                return latency, fault
            latency += fault.seconds
        return latency, None

    def _fires(self, fault: Fault, chance: random.Random) -> bool:
        fault.seen += 1
        if fault.seen <= fault.after or (fault.times is not None and fault.fired >= fault.times):
            return False
        if chance.random() >= fault.probability:
            return False
        fault.fired += 1
        self.fired[fault.kind] = self.fired.get(fault.kind, 0) + 1
        return True


def _message(query: str, body: bytes) -> dict[str, object]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        message = None
    read: dict[str, object] = message if isinstance(message, dict) else {}
    for name in ("corpid", "type"):
        if value := parameter(query, name):
            read[name] = value
    return read


def _matches(match: Mapping[str, str | int], message: Mapping[str, object]) -> bool:
    for name, wanted in match.items():
        if name == "user":
            if str(wanted).lower() not in _users(message):
                return False
        elif name == "content":
            part = message.get(str(message.get("msgtype")))
            if str(wanted) not in str(part.get("content") if isinstance(part, dict) else ""):
                return False
        elif message.get(name) != wanted:
            return False
    return True


def _users(message: Mapping[str, object]) -> list[str]:
    named = message.get("userids")
    names = named if isinstance(named, list) else str(message.get("touser", "")).split("|")
    return [str(name).lower() for name in names]
