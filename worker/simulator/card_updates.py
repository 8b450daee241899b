"""message/update_template_card (doc 94888): who is shown what instead of a card, by a code that is good once."""

from dataclasses import dataclass, field

import orjson

from worker.simulator.answers import WRONG_JSON, RefusedError
from worker.simulator.apps import App
from worker.simulator.audience import EVERYONE, MOST_PARTIES, MOST_TAGS, MOST_USERS, is_valid_user
from worker.simulator.cards import INTERACTIVE, check_card
from worker.simulator.reading import Part, Reading
from worker.simulator.record import Record
from worker.simulator.settings import Settings

_FIELDS = frozenset(
    {
        "userids",
        "partyids",
        "tagids",
        "atall",
        "agentid",
        "response_code",
        "enable_id_trans",
        "button",
        "template_card",
    }
)
_BUTTON = frozenset({"replace_name"})


@dataclass(frozen=True, slots=True)
class CardUpdate:
    """One accepted update.

    Attributes:
        number: counts accepted updates from 0.
        at: when, in Unix seconds of the simulator's clock.
        delivery: the number of the delivery whose card it changes.
        corpid: the corp that asked.
        agentid: the app that asked.
        targets: whose card changed: userids in lower case, `@all`, `party:2`, `tag:7`.
        invalid: the userids that were answered as invalid.
        replace_name: what the button says now; empty where the card was replaced.
        template_card: the JSON of the new card; empty where only the button changed.
        unknown_fields: fields no document names.
    """

    number: int
    at: float
    delivery: int
    corpid: str
    agentid: int
    targets: list[str]
    invalid: list[str]
    replace_name: str
    template_card: str
    unknown_fields: list[str]


@dataclass(slots=True)
class CardUpdates:
    """Every update, the response_codes used up, and the task_ids that are taken."""

    settings: Settings
    record: Record
    updates: list[CardUpdate] = field(default_factory=list)
    _used: set[int] = field(default_factory=set)
    _task_ids: dict[int, set[str]] = field(default_factory=dict)

    def reset(self) -> None:
        """Forget every card."""
        self.updates.clear()
        self._used.clear()
        self._task_ids.clear()

    def check_task_id(self, app_number: int, task_id: str) -> None:
        """Refuse a task_id the app has used before with 42014; no end of that is stated (doc 90236)."""
        if task_id in self._task_ids.get(app_number, ()):
            raise RefusedError(42014)

    def take_task_id(self, app_number: int, task_id: str) -> None:
        """Take a task_id for good."""
        self._task_ids.setdefault(app_number, set()).add(task_id)

    def read(self, message: dict[str, object]) -> tuple[Part, Reading]:
        """Read what replaces what, before anything is looked up.

        Raises:
            RefusedError: 40063 neither or 40058 both of button and template_card, those of `check_card`.
        """
        reading = Reading(self.settings, updating=True)
        reading.unknown = [name for name in message if name not in _FIELDS]
        request = Part(message, reading, "")
        request.choice("enable_id_trans", (0, 1))
        button, card = message.get("button"), message.get("template_card")
        if button is None and card is None:
            raise RefusedError(40063)
        if button is not None and card is not None:
            raise RefusedError(40058)
        if button is not None:
            part = Part(button, reading, "button")
            part.lists(_BUTTON)
            part.text("replace_name", 40063)
        else:
            check_card(Part(card, reading, "template_card"))
        return request, reading

    def update(self, app_number: int, app: App, request: Part, now: float) -> CardUpdate:
        """Change a card.

        Raises:
            RefusedError: 60140 the code is unknown, used or too old, 42015 another app's, 82101 nobody named, 82102
                nobody of those was sent the card, 40032, 82002, 82003 too many named, 40058 a button for a card
                without any. What was refused has not used the code up; that is not documented.
        """
        number = self._card(app_number, app, request, now)
        targets, invalid = self._targets(number, request)
        button, card = request.content.get("button"), request.content.get("template_card")
        if button is not None and self.record.card_type(number) not in INTERACTIVE:
            raise RefusedError(40058)
        update = CardUpdate(
            number=len(self.updates),
            at=now,
            delivery=number,
            corpid=app.corpid,
            agentid=app.agentid,
            targets=targets,
            invalid=invalid,
            replace_name=str(button["replace_name"]) if isinstance(button, dict) else "",
            template_card="" if card is None else orjson.dumps(card).decode(),
            unknown_fields=request.reading.unknown,
        )
        self._used.add(number)
        self.updates.append(update)
        self.record.update_card(number, update.number)
        return update

    def _card(self, app_number: int, app: App, request: Part, now: float) -> int:
        """The delivery a response_code is for."""
        number = self.record.number_of_code(request.text("response_code", 60140))
        if number is None or number in self._used or not self.record.card_type(number):
            raise RefusedError(60140)
        if self.record.app_number(number) != app_number:
            raise RefusedError(42015 if self.record.delivery(number).corpid == app.corpid else 60140)
        if now >= self.record.accepted_at(number) + self.settings.response_code_life:
            raise RefusedError(60140)
        return number

    def _targets(self, number: int, request: Part) -> tuple[list[str], list[str]]:
        """Divide those named into those who have the card and the userids of those who do not.

        Who is in a department or has a tag the simulator does not know: a card sent to any group may be anybody's.
        """
        delivery = self.record.delivery(number)
        sent = {*delivery.served, *delivery.dropped}
        everyone = EVERYONE in sent
        grouped = everyone or any(":" in name for name in sent)
        users = dict.fromkeys(str(name).lower() for name in _names(request, "userids", str, MOST_USERS, 40032))
        groups = [f"party:{party}" for party in _names(request, "partyids", int, MOST_PARTIES, 82002)]
        groups += [f"tag:{tag}" for tag in _names(request, "tagids", int, MOST_TAGS, 82003)]
        if request.choice("atall", (0, 1)):
            return sorted(sent), []
        if not users and not groups:
            raise RefusedError(82101)
        targets = [name for name in users if name in sent or (grouped and is_valid_user(name))]
        invalid = [name for name in users if name not in sent and not (grouped and is_valid_user(name))]
        targets += [name for name in groups if everyone or name in sent]
        if not targets:
            raise RefusedError(82102, invaliduser=invalid)
        return targets, invalid


def _names(request: Part, name: str, kind: type, most: int, over: int) -> list[object]:
    value = request.content.get(name)
    if value is None:
        return []
    if type(value) is not list or any(type(one) is not kind for one in value):
        raise RefusedError(40058, warning=WRONG_JSON)
    if len(value) > most:
        raise RefusedError(over)
    return value
