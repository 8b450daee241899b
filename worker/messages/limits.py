"""The limits of single fields, as annotations: each checks, counts and describes itself in the JSON Schema.

Lengths are bytes of UTF-8 where WeCom says 字节 and characters (code points) where it says 字, 字符 or 汉字; a
Latin letter counts as one character, which is the strict reading of limits that are given in Chinese characters.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from worker.messages.refusals import fault

Unit = Literal["characters", "bytes"]

UNSENDABLE = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")
"""Control characters other than line end and tab, and halves of characters."""


def sendable(text: str) -> str:
    r"""Return the text if WeCom can be sent every character of it.

    JSON can write control characters only as `\u` escapes, which WeCom refuses (errcode 40033); a lone surrogate
    has no UTF-8 form at all.

    Raises:
        ValueError: naming the first character that cannot be sent and where it stands.
    """
    found = UNSENDABLE.search(text)
    if found is None:
        return text
    character, position = found.group(), found.start()
    if character >= "\ud800":
        raise ValueError(
            f"lone surrogate U+{ord(character):04X} at position {position} is half a character; "
            "decode the text correctly first"
        )
    advice = "write line ends as \\n alone" if character == "\r" else "remove it"
    raise ValueError(
        f"control character U+{ord(character):04X} at position {position} cannot be sent to WeCom; {advice}"
    )


class Limit:
    """An annotation that checks a value after its type, and says so in the JSON Schema."""

    __slots__ = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's protocol
        """Check after pydantic did."""
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add what JSON Schema can express of this limit."""
        return handler(schema) | self.in_json_schema()

    def checked(self, value: Any) -> Any:  # noqa: ANN401 - of the annotated type
        """Return the value.

        Raises:
            ValueError: it is outside the limit.
        """
        raise NotImplementedError

    def in_json_schema(self) -> dict[str, Any]:
        """The keywords of JSON Schema that say the same; empty where it has none."""
        return {}


@dataclass(frozen=True, slots=True)
class Size(Limit):
    """At most (and at least) so many bytes of UTF-8 or characters."""

    most: int
    unit: Unit
    least: int = 0
    advice: str = ""

    def checked(self, value: str) -> str:
        """Return the text if it is neither too long nor too short."""
        size = measured(value, self.unit)
        if size > self.most:
            raise ValueError(f"{size} {UNITS[self.unit]}, at most {self.most}{self.advice}")
        if size < self.least:
            raise ValueError(f"{size} {UNITS[self.unit]}, at least {self.least}")
        return value

    def in_json_schema(self) -> dict[str, Any]:
        """JSON Schema counts characters; a byte limit is at least a limit of as many characters."""
        return {"maxLength": self.most} | ({"minLength": self.least} if self.least else {})


@dataclass(frozen=True, slots=True)
class Suggested:
    """A length that WeCom suggests without saying what happens past it: a warning, never an error."""

    most: int
    unit: Unit = "characters"

    def warning(self, value: str, most: int | None = None) -> str | None:
        """Say that the text is longer than suggested (than `most`, where a card suggests otherwise), if it is."""
        size, limit = measured(value, self.unit), most or self.most
        return f"{size} {UNITS[self.unit]}, suggested at most {limit}" if size > limit else None


@dataclass(frozen=True, slots=True)
class Items(Limit):
    """At most (and at least) so many items; WeCom refuses other numbers."""

    most: int
    least: int = 0

    def checked(self, value: Sequence[Any]) -> Sequence[Any]:
        """Return the list if it has neither too many nor too few items."""
        if len(value) > self.most:
            raise ValueError(f"{len(value)} items, at most {self.most}")
        if len(value) < self.least:
            raise ValueError(f"{len(value)} items, at least {self.least}")
        return value

    def in_json_schema(self) -> dict[str, Any]:
        """Both ends of the limit."""
        return {"maxItems": self.most} | ({"minItems": self.least} if self.least else {})


@dataclass(frozen=True, slots=True)
class Unique(Limit):
    """No two items of a list have the same value in this field."""

    field: str

    def checked(self, value: Sequence[Any]) -> Sequence[Any]:
        """Return the list if the field tells its items apart."""
        first: dict[str, int] = {}
        for position, item in enumerate(value):
            name = getattr(item, self.field)
            if name is not None and first.setdefault(name, position) != position:
                raise fault(f"[{position}].{self.field}", f"the same as in item {first[name]}, each needs its own")
        return value


class Filled(Limit):
    """Holds more than blanks."""

    __slots__ = ()

    def checked(self, value: str) -> str:
        """Return the text if there is any."""
        if not value or value.isspace():
            raise ValueError("is empty")
        return value

    def in_json_schema(self) -> dict[str, Any]:
        """At least one character."""
        return {"minLength": 1}


@dataclass(frozen=True, slots=True)
class Pattern(Limit):
    """Is written as this regular expression says, which `words` say for people."""

    expression: str
    words: str

    def checked(self, value: str) -> str:
        """Return the text if it is written so."""
        if re.fullmatch(self.expression, value) is None:
            raise ValueError(self.words)
        return value

    def in_json_schema(self) -> dict[str, Any]:
        """The expression; it means the same in JavaScript's dialect, which JSON Schema uses."""
        return {"pattern": self.expression}


@dataclass(frozen=True, slots=True)
class Choice(Limit):
    """One of these numbers."""

    numbers: tuple[int, ...]

    def checked(self, value: int) -> int:
        """Return the number if it is one of them."""
        if value not in self.numbers:
            *others, last = map(str, self.numbers)
            known = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(f"{value} is not known, must be {known}")
        return value

    def in_json_schema(self) -> dict[str, Any]:
        """The numbers."""
        return {"enum": list(self.numbers)}


UNITS = {"characters": "characters", "bytes": "bytes of UTF-8"}


def measured(text: str, unit: Unit) -> int:
    """The length of a text in this unit."""
    return len(text.encode()) if unit == "bytes" else len(text)


Characters = Annotated[str, Strict(), AfterValidator(sendable)]
"""Any text that can be sent, the empty one too."""

Words = Annotated[Characters, Filled()]
"""A text that is required: more than blanks."""

Url = Annotated[
    Characters,
    Pattern(r"^https?://[^\s/]\S*$", "must begin with http:// or https://, name a host and hold no blanks"),
    Size(2048, "bytes"),
    Suggested(1024, "bytes"),
]
"""A link or picture: http or https, at most 2048 bytes (doc 90236); 40039 of doc 90313 says 1024, so that warns."""

Key = Annotated[Words, Size(1024, "bytes")]
"""What a click reports back, at most 1024 bytes (doc 90236)."""

OptionId = Annotated[Words, Size(128, "bytes")]
"""What a choice reports back, at most 128 bytes (doc 90236)."""

USERID_EXPRESSION = r"[0-9A-Za-z][0-9A-Za-z_@.-]*"

UserId = Annotated[
    Words,
    Size(64, "bytes"),
    Pattern(
        f"^{USERID_EXPRESSION}$", "must be made of letters, digits and _ - @ . alone, and begin with a letter or digit"
    ),
]
"""A member's userid, at most 64 bytes (doc 90313, 40003) of these characters (doc 90195)."""

AppId = Annotated[Words, Size(128, "bytes"), Pattern(r"^wx[0-9A-Za-z]+$", "must be wx and then letters and digits")]
"""A mini program's appid: WeChat writes it as `wx` and 16 digits and letters. The length is ours."""

TaskId = Annotated[
    Characters,
    Pattern(r"^[0-9A-Za-z_@-]+$", "must be made of digits, letters and _ - @ alone, and not be empty"),
    Size(128, "bytes"),
]
"""What makes a card unique in its app: digits, letters, `_`, `-` and `@`, at most 128 bytes (doc 90236)."""

Whole = Annotated[int, Strict()]
"""A whole number; neither true nor 1.0 is one."""

Truth = Annotated[bool, Strict()]
"""true or false; neither 0 nor 1 is."""

Flag = Annotated[Whole, Choice((0, 1))]
"""No or yes, as the number WeCom uses."""
