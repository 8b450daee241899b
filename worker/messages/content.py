"""What every message type has in common: its wire form, and characters WeCom accepts."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

KEPT_CONTROLS = frozenset("\n\t")
FIRST_PRINTABLE = " "


class InvalidMessage(ValueError):  # noqa: N818 - the design's word, and what a producer catches
    """A message cannot be sent as it is; the text is one line: the field, the limit, what was given."""


class Content(BaseModel):
    """One message type; `msgtype` is WeCom's name for it, the fields are those of the object of that name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
    msgtype: ClassVar[str]

    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 - pydantic judges them
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InvalidMessage(self._faults(error)) from None

    @classmethod
    def _faults(cls, error: ValidationError) -> str:
        return "; ".join(
            f"{'.'.join((cls.msgtype, *map(str, fault['loc'])))}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        )

    def body(self) -> dict[str, Any]:
        """Return the wire form without recipients: `{"msgtype": "text", "text": {...}}` (doc 90236)."""
        return {"msgtype": self.msgtype, self.msgtype: self.model_dump(exclude_none=True)}

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Self:
        """Read the wire form back.

        Raises:
            InvalidMessage: a field is missing, unknown or outside its limits.
        """
        fields = body.get(cls.msgtype)
        if not isinstance(fields, dict):
            raise InvalidMessage(f"{cls.msgtype}: an object is needed beside msgtype, as in doc 90236")
        unknown = sorted(set(body) - {"msgtype", cls.msgtype})
        if unknown:
            raise InvalidMessage(f"{unknown[0]}: not a field of a {cls.msgtype} message")
        return cls(**fields)


def sendable(text: str) -> str:
    r"""Return the text if WeCom can be sent every character of it.

    JSON can write control characters only as `\u` escapes, which WeCom refuses (errcode 40033); a lone surrogate
    has no UTF-8 form at all.

    Raises:
        ValueError: naming the first character that cannot be sent and where it stands.
    """
    for position, character in enumerate(text):
        if character < FIRST_PRINTABLE and character not in KEPT_CONTROLS:
            advice = "write line ends as \\n alone" if character == "\r" else "remove it"
            raise ValueError(
                f"control character U+{ord(character):04X} at position {position} cannot be sent to WeCom; {advice}"
            )
        if "\ud800" <= character <= "\udfff":
            raise ValueError(
                f"lone surrogate U+{ord(character):04X} at position {position} is half a character; "
                "decode the text correctly first"
            )
    return text
