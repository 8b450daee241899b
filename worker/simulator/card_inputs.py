"""The parts of a template_card one answers with: buttons, selections, votes (docs 90236, 94888)."""

from worker.simulator.answers import RefusedError
from worker.simulator.card_blocks import MOST_KEY_BYTES
from worker.simulator.reading import Part

MOST_ID_BYTES = 128
MOST_BUTTONS = 6
MOST_OPTIONS, MOST_VOTES, MOST_SELECTIONS = 10, 20, 3

_CALLBACK, _TO_URL = 0, 1

_BUTTON = frozenset({"type", "text", "style", "key", "url"})
_OPTION = frozenset({"id", "text"})
_VOTE = frozenset({"id", "text", "is_checked"})
_SELECTION = frozenset({"question_key", "title", "option_list", "selected_id"})
_SELECTION_OF_UPDATE = _SELECTION | {"disable"}
_CHECKBOX = frozenset({"question_key", "mode", "option_list"})
_CHECKBOX_OF_UPDATE = _CHECKBOX | {"disable"}
_SUBMIT = frozenset({"text", "key"})


def button_list(card: Part) -> None:
    """1 to 6 buttons: 42038 no text, 42039 no key, one too long or twice, 42028 no url; the length earns 40058."""
    keys: set[str] = set()
    for button in card.parts("button_list", 1, MOST_BUTTONS, 40058):
        button.lists(_BUTTON)
        button.text("text", 42038)
        button.choice("style", (1, 2, 3, 4), default=1)
        if button.choice("type", (_CALLBACK, _TO_URL)) == _TO_URL:
            button.url("url", 42028)
            button.texts("key")
            continue
        button.texts("url")
        key = button.text("key", 42039, most_bytes=MOST_KEY_BYTES, over=42039)
        if key in keys:
            raise RefusedError(42039)
        keys.add(key)


def button_selection(card: Part) -> None:
    """A drop-down above the buttons: 42043 question_key, 42037 not 1 to 10 options, 42040 and 42041 an option."""
    if part := card.part("button_selection"):
        part.lists(_SELECTION)
        _question(part)
        part.texts("title", "selected_id")
        _options(part, MOST_OPTIONS, _OPTION, unique=True)


def select_list(card: Part) -> None:
    """1 to 3 drop-downs (42047), with the codes of button_selection; a question_key twice is 42043."""
    questions: set[str] = set()
    for selection in card.parts("select_list", 1, MOST_SELECTIONS, 42047):
        selection.lists(_SELECTION_OF_UPDATE if card.reading.updating else _SELECTION)
        question = _question(selection)
        if question in questions:
            raise RefusedError(42043)
        questions.add(question)
        selection.texts("title", "selected_id")
        _options(selection, MOST_OPTIONS, _OPTION, unique=False)
        _disable(selection)


def checkbox(card: Part) -> None:
    """The question of a vote: 40063 without, 42043 question_key, 42037 not 1 to 20 options, 42040 and 42041."""
    part = card.part("checkbox", 40063)
    assert part is not None  # noqa: S101 - refused in the line above
    part.lists(_CHECKBOX_OF_UPDATE if card.reading.updating else _CHECKBOX)
    _question(part)
    part.choice("mode", (0, 1))
    for option in _options(part, MOST_VOTES, _VOTE, unique=True):
        option.flag("is_checked", 40063)
    _disable(part)


def submit_button(card: Part) -> None:
    """The button of votes and selections: 42049 no text, 42046 no key or one too long; an update may go without."""
    part = card.part("submit_button", 0 if card.reading.updating else 42046)
    if part:
        part.lists(_SUBMIT)
        part.text("text", 42049)
        part.text("key", 42046, most_bytes=MOST_KEY_BYTES, over=42046)


def _question(part: Part) -> str:
    return part.text("question_key", 42043, most_bytes=MOST_KEY_BYTES, over=42043)


def _options(part: Part, most: int, fields: frozenset[str], *, unique: bool) -> list[Part]:
    options = part.parts("option_list", 1, most, 42037)
    ids: set[str] = set()
    for option in options:
        option.lists(fields)
        ids.add(option.text("id", 42040, most_bytes=MOST_ID_BYTES, over=42040))
        option.text("text", 42041)
    if unique and len(ids) < len(options):
        raise RefusedError(42040)
    return options


def _disable(part: Part) -> None:
    """An update may switch the question off (doc 94888)."""
    if part.reading.updating:
        part.flag("disable")
