"""A client for the simulator's own addresses, for tests, the demo and benchmarks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import orjson
import requests

from worker.simulator.card_updates import CardUpdate
from worker.simulator.media import Upload
from worker.simulator.record import Delivery

_PAGE = 10_000
_PATIENCE = 30
"""Seconds; the simulator answers in milliseconds, so this long means it is gone."""


class FaultOptions(TypedDict, total=False):
    """What can be said about a fault beside its kind; see `faults.Fault`."""

    endpoint: str
    probability: float
    times: int | None
    after: int
    match: Mapping[str, str | int]
    errcode: int
    seconds: float
    status: int
    processed: bool
    whole_length: bool


@dataclass(frozen=True, slots=True)
class Counters:
    """What the simulator counted since its start or last reset.

    Attributes:
        calls: calls that came in, by endpoint (`faults.ENDPOINTS`), spoilt or not.
        answers: whole JSON answers that went out, by endpoint and errcode.
        faults: how often each kind of fault fired.
        connections: connections accepted, the control's own among them.
        tokens_issued: different access tokens given out.
        deliveries: accepted sends, suppressed duplicates among them.
        duplicates: sends suppressed as duplicates.
        truncated: messages of which something was cut off.
        recalled: messages taken back.
        dropped: person-times silently dropped.
        uploads: files accepted by upload and uploadimg.
        card_updates: cards updated.
        cpu_seconds: CPU time of the simulator's process, user and system, since it started.
    """

    calls: dict[str, int]
    answers: dict[str, dict[int, int]]
    faults: dict[str, int]
    connections: int
    tokens_issued: int
    deliveries: int
    duplicates: int
    truncated: int
    recalled: int
    dropped: int
    uploads: int
    card_updates: int
    cpu_seconds: float


class SimulatorControl:
    """Orders and questions to a running simulator; a context manager that closes its connections.

    Every method raises ValueError with the simulator's words if it refuses, and requests' exceptions if it is gone.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment has no business on loopback

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the simulator runs on."""
        self._session.close()

    @property
    def process_id(self) -> int:
        """The simulator's process."""
        return int(self._ask("health")["process_id"])

    def add_app(
        self, corpid: str, secret: str, agentid: int, account_cap: int = 1_000_000, *, callback_url: bool = True
    ) -> None:
        """Accept another app, or change one that is known by its corpid and agentid.

        Without a callback URL its cards that call back are refused with 43012.
        """
        self._order(
            "apps", corpid=corpid, secret=secret, agentid=agentid, account_cap=account_cap, callback_url=callback_url
        )

    def add_fault(self, kind: str, **options: Unpack[FaultOptions]) -> None:
        """Spoil calls; `faults.KINDS` tells the kinds, `faults.Fault` the options."""
        self._order("faults", kind=kind, **options)

    def clear_faults(self, *, seed: int = 0) -> None:
        """Spoil nothing any more; faults added later draw from this seed."""
        self._order("faults/clear", seed=seed)

    def faults(self) -> list[dict[str, Any]]:
        """The plan, with how often each fault was `seen` (matched) and `fired`."""
        return list(self._ask("faults")["faults"])

    def now(self) -> float:
        """The simulator's present, in Unix seconds."""
        return float(self._ask("clock")["now"])

    def set_clock(self, instant: float, *, frozen: bool = False) -> None:
        """Set the clock to Unix seconds; it runs on from there unless frozen."""
        self._order("clock", at=instant, frozen=frozen)

    def advance_clock(self, seconds: float) -> None:
        """Move the clock by so many seconds."""
        self._order("clock", advance=seconds)

    def change_settings(self, **changes: bool | float | str) -> None:
        """Change some of `settings.Settings`."""
        self._order("settings", **changes)

    def invalidate_tokens(self, errcode: int = 40014, *, corpid: str | None = None, agentid: int | None = None) -> int:
        """End living tokens early, of all apps or of one; calls with them are answered `errcode`. Returns how many."""
        return int(self._order("tokens/end", errcode=errcode, corpid=corpid, agentid=agentid)["ended"])

    def invalidate_media(self, errcode: int = 40007, *, media_id: str | None = None, corpid: str | None = None) -> int:
        """End media early, all or one corp's or one; messages that name it are answered `errcode`. Returns how many.

        What is uploaded afterwards lives, the same bytes again included.
        """
        return int(self._order("media/end", errcode=errcode, media_id=media_id, corpid=corpid)["ended"])

    def uploads(self, since: int = 0) -> list[Upload]:
        """Every accepted upload and uploadimg from number `since` on, in order, without the bytes."""
        return [Upload(**upload) for upload in self._all("uploads", since)]

    def card_updates(self, since: int = 0, *, delivery: int | None = None) -> list[CardUpdate]:
        """Every accepted update of a card from number `since` on, in order; of one delivery's card if it is named."""
        updates = (CardUpdate(**update) for update in self._all("card-updates", since))
        return [update for update in updates if delivery in (None, update.delivery)]

    def deliveries(self, since: int = 0) -> list[Delivery]:
        """Every accepted send from number `since` on, in order."""
        return list(self.iterate_deliveries(since))

    def iterate_deliveries(self, since: int = 0) -> Iterator[Delivery]:
        """Yield the same, page by page, without holding all of them."""
        for delivery in self._all("deliveries", since):
            yield Delivery(**delivery)

    def served(self, *, include_recalled: bool = True) -> dict[str, list[str]]:
        """What each member (lower case), `@all`, `party:2` or `tag:7` was really shown, in order.

        Suppressed duplicates and dropped messages are not in it.
        """
        shown: dict[str, list[str]] = {}
        since, total = 0, 1
        while since < total:
            page = self._ask(f"served?since={since}&limit={_PAGE}&recalled={int(include_recalled)}")
            for name, contents in page["served"].items():
                shown.setdefault(name, []).extend(contents)
            since, total = page["next"], page["total"]
        return shown

    def counters(self) -> Counters:
        """What was counted since the start or the last reset."""
        counted = self._ask("counters")
        answers = {
            endpoint: {int(errcode): count for errcode, count in by_errcode.items()}
            for endpoint, by_errcode in counted["answers"].items()
        }
        return Counters(**{**counted, "answers": answers})

    def reset(self) -> None:
        """Make it as new: record, apps, tokens, limits, faults, settings and clock."""
        self._order("reset")

    def _all(self, name: str, since: int) -> Iterator[dict[str, Any]]:
        """Yield every entry of a list, asked for page by page."""
        while page := self._ask(f"{name}?since={since}&limit={_PAGE}")[name.replace("-", "_")]:
            yield from page
            since += len(page)

    def _ask(self, question: str) -> dict[str, Any]:
        return self._read(self._session.get(f"{self.base_url}/simulator/{question}", timeout=_PATIENCE))

    def _order(self, order: str, **content: object) -> dict[str, Any]:
        response = self._session.post(
            f"{self.base_url}/simulator/{order}", data=orjson.dumps(content), timeout=_PATIENCE
        )
        return self._read(response)

    def _read(self, response: requests.Response) -> dict[str, Any]:
        answer: dict[str, Any] = orjson.loads(response.content)
        if response.status_code != 200:
            raise ValueError(answer["error"])
        return answer
