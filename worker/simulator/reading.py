"""A message's JSON read field by field: what must be there, what is cut, what nobody documents."""

from collections.abc import Container
from dataclasses import dataclass, field

from worker.simulator.answers import WRONG_JSON, RefusedError
from worker.simulator.settings import Settings

MOST_URL_BYTES = 2048
"""Of a link in message/send (doc 90236); the text of 40039 says 1024."""

_SCHEMES = ("http://", "https://")


@dataclass(slots=True)
class Reading:
    """What reading one message brought to light.

    Attributes:
        settings: what is done with text past a limit.
        updating: the message is a card that replaces another (doc 94888).
        truncated: the fields that were cut.
        unknown: the fields the type does not list; they are ignored.
        media: media_ids used, and which kind each must be.
        card_type: of a template_card.
        calls_back: whether that card sends clicks to the app's callback URL.
        task_id: of that card.
    """

    settings: Settings
    updating: bool = False
    truncated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    media: list[tuple[str, str]] = field(default_factory=list)
    card_type: str = ""
    calls_back: bool = False
    task_id: str = ""


class Part:
    """One JSON object of a message. A value of null counts as missing, and so does an empty text.

    Its methods raise RefusedError: 40058 with the warning on a value of the wrong JSON type (doc 90313), otherwise the
    errcode they are given.
    """

    __slots__ = ("_name", "_parent", "_place", "content", "reading")

    def __init__(
        self, content: object, reading: Reading, name: str, parent: "Part | None" = None, place: int | None = None
    ) -> None:
        if type(content) is not dict:
            raise RefusedError(40058, warning=WRONG_JSON)
        self.content: dict[str, object] = content
        self.reading = reading
        self._name = name
        self._parent = parent
        self._place = place

    @property
    def path(self) -> str:
        """Where the object stands, such as `template_card.button_list[0]`."""
        own = self._name if self._place is None else f"{self._name}[{self._place}]"
        return own if self._parent is None else f"{self._parent.path}.{own}"

    def lists(self, names: frozenset[str]) -> None:
        """Remember every field that is not among those documented."""
        if not names.issuperset(self.content):
            self.reading.unknown += [f"{self.path}.{name}" for name in self.content if name not in names]

    def text(self, name: str, missing: int = 0, *, most_bytes: int = 0, over: int = 40058) -> str:
        """Read a text; `missing` is the errcode without it (0: it may be missing), `over` the one past its limit."""
        value = self.content.get(name)
        if value and type(value) is str:
            if most_bytes and has_more_bytes(value, most_bytes):
                raise RefusedError(over)
            return value
        if value is not None and value != "":
            raise RefusedError(40058, warning=WRONG_JSON)
        if missing:
            raise RefusedError(missing)
        return ""

    def texts(self, *names: str) -> None:
        """Read texts that may be missing and have no limit that is enforced."""
        content = self.content
        for name in names:
            value = content.get(name)
            if value is not None and type(value) is not str:
                raise RefusedError(40058, warning=WRONG_JSON)

    def cut_bytes(self, name: str, most: int, missing: int = 0) -> str:
        """Read a text and cut it past so many bytes, between characters (doc 90236)."""
        value = self.text(name, missing)
        if not has_more_bytes(value, most):
            return value
        return self._cut(name, value.encode()[:most].decode(errors="ignore"))

    def cut_characters(self, name: str, most: int, missing: int = 0) -> str:
        """Read a text and cut it past so many characters (doc 90236)."""
        value = self.text(name, missing)
        return value if len(value) <= most else self._cut(name, value[:most])

    def url(self, name: str, missing: int = 0) -> str:
        """Read a link: 45034 without http:// or https://, 40039 past 2048 bytes (doc 90313)."""
        value = self.text(name, missing, most_bytes=MOST_URL_BYTES, over=40039)
        if value and not value.startswith(_SCHEMES) and not value.lower().startswith(_SCHEMES):
            raise RefusedError(45034)
        return value

    def choice(self, name: str, allowed: Container[int], wrong: int = 40058, *, default: int | None = 0) -> int:
        """Read a whole number among those allowed; without a default it must be there."""
        value = self.content.get(name)
        if value is None:
            if default is None:
                raise RefusedError(wrong)
            return default
        if type(value) is not int:
            raise RefusedError(40058, warning=WRONG_JSON)
        if value not in allowed:
            raise RefusedError(wrong)
        return value

    def flag(self, name: str, missing: int = 0) -> bool:
        """Read true or false."""
        value = self.content.get(name)
        if value is None:
            if missing:
                raise RefusedError(missing)
            return False
        if type(value) is not bool:
            raise RefusedError(40058, warning=WRONG_JSON)
        return value

    def media(self, name: str, kind: str, missing: int = 41006) -> None:
        """Read a media_id, to be looked up later as media of this kind."""
        self.reading.media.append((self.text(name, missing), kind))

    def part(self, name: str, missing: int = 0) -> "Part | None":
        """Read an object."""
        value = self.content.get(name)
        if value is None:
            if missing:
                raise RefusedError(missing)
            return None
        return Part(value, self.reading, name, self)

    def parts(self, name: str, least: int, most: int, wrong: int) -> "list[Part]":
        """Read a list of objects; `wrong` is the errcode of a wrong length, a missing list having none."""
        value = self.content.get(name)
        if value is None:
            value = []
        if type(value) is not list:
            raise RefusedError(40058, warning=WRONG_JSON)
        if not least <= len(value) <= most:
            raise RefusedError(wrong)
        reading = self.reading
        return [Part(item, reading, name, self, place) for place, item in enumerate(value)]

    def _cut(self, name: str, kept: str) -> str:
        """Keep the beginning (doc 90236), or refuse with 45002 (doc 90313)."""
        if self.reading.settings.long_text == "refuse":
            raise RefusedError(45002)
        self.content[name] = kept
        self.reading.truncated.append(f"{self.path}.{name}")
        return kept


def has_more_bytes(text: str, most: int) -> bool:
    """Whether a text has more UTF-8 bytes than that."""
    return len(text) * 4 > most and (len(text) > most or len(text.encode()) > most)
