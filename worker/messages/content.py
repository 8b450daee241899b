"""What every message type has in common: its wire form, its options, its files and its warnings."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from worker.messages.limits import Flag, Limit, Whole, sendable
from worker.messages.mediafile import MediaFile, media_id_or_file
from worker.messages.part import Part
from worker.messages.refusals import InvalidMessage, one_line, path_of, unknown_field

__all__ = ["OPTIONS", "Content", "InvalidMessage", "TranslatableContent", "sendable"]

OPTIONS = ("safe", "enable_id_trans", "enable_duplicate_check", "duplicate_check_interval")
"""Fields of a message that the wire has beside the object of its type (doc 90236)."""

LONGEST_DUPLICATE_CHECK = 14_400
PartType = TypeVar("PartType", bound=Part)


class _Interval(Limit):
    __slots__ = ()

    def checked(self, value: int) -> int:
        if not 1 <= value <= LONGEST_DUPLICATE_CHECK:
            raise ValueError(f"{value} seconds, 1 to {LONGEST_DUPLICATE_CHECK} are possible")
        return value

    def in_json_schema(self) -> dict[str, Any]:
        return {"minimum": 1, "maximum": LONGEST_DUPLICATE_CHECK}


class Content(Part):
    """One message type; `msgtype` is WeCom's name for it, the fields are those of the object of that name.

    Attributes:
        enable_duplicate_check: 1 asks WeCom not to deliver the same request twice within the interval; all types
            have it (doc 90236). The worker asks for it by itself, with an interval of its own.
        duplicate_check_interval: seconds, 1 to 14400 (4 hours), 1800 if not given (doc 90236).
    """

    msgtype: ClassVar[str]
    everyone_possible: ClassVar[bool] = True
    """Whether WeCom sends this type to `@all` (doc 90236)."""
    suggested_otherwise: ClassVar[Mapping[str, int]] = {}
    """Suggested lengths that differ in this type from those of its parts."""

    enable_duplicate_check: Flag | None = None
    duplicate_check_interval: Annotated[Whole, _Interval()] | None = None

    @classmethod
    def _refusal(cls, error: ValidationError) -> str:
        return one_line(error, cls, (cls.msgtype,), beside=OPTIONS)

    def body(self) -> dict[str, Any]:
        """Return the wire form without recipients: `{"msgtype": "text", "text": {...}}` (doc 90236).

        What was not given is not written.

        Raises:
            InvalidMessage: a file stands where the wire needs a media_id; upload it and use `with_media_ids`.
        """
        try:
            fields = self.model_dump(mode="json", exclude_none=True)
        except PydanticSerializationError:
            steps, _, _ = next(self.files())
            raise InvalidMessage(
                f"{path_of((self.msgtype, *steps))}: the file must be uploaded first, the wire needs its media_id"
            ) from None
        options = {name: fields.pop(name) for name in OPTIONS if name in fields}
        return {"msgtype": self.msgtype, self.msgtype: fields, **options}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Read the wire form back.

        Raises:
            InvalidMessage: a field is missing, unknown or outside its limits.
        """
        fields = body.get(cls.msgtype)
        if not isinstance(fields, dict):
            raise InvalidMessage(f"{cls.msgtype}: an object is needed beside msgtype, as in doc 90236")
        options = [name for name in OPTIONS if name in cls.model_fields]
        for name in sorted(path_of([str(name)]) for name in set(body) - {"msgtype", cls.msgtype, *options}):
            if name in OPTIONS:
                raise InvalidMessage(f"{name}: {cls.msgtype} messages do not have this option (doc 90236)")
            raise InvalidMessage(f"{name}: {unknown_field(name, (cls.msgtype, *options))}")
        for name in OPTIONS:
            if name in fields:
                raise InvalidMessage(f"{cls.msgtype}.{name}: unknown field; options stand beside msgtype")
        return cls._read(fields | {name: body[name] for name in options if name in body})

    @classmethod
    def _read(cls, fields: Mapping[str, Any]) -> Self:
        """Read fields as on the wire, without the conveniences that Python programs have."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise InvalidMessage(cls._refusal(error)) from None

    def warnings(self) -> tuple[str, ...]:
        """Say which texts are longer than WeCom suggests, one line each; such a message can be sent."""
        return tuple(
            f"{path_of((self.msgtype, *steps))}: {sentence}"
            for steps, sentence in self.suggestions_passed(self.suggested_otherwise)
        )

    def media_files(self) -> tuple[tuple[str, MediaFile], ...]:
        """The kind and file of everything that must be uploaded before this is sent, always in the same order."""
        return tuple((kind, file) for _, kind, file in self.files())

    def with_media_ids(self, ids: Sequence[str]) -> Self:
        """Return the message with these media_ids in place of its files, in the order of `media_files`.

        Raises:
            ValueError: there are not as many media_ids as files, or one is no media_id.
        """
        return with_media_ids(self, ids)


class TranslatableContent(Content):
    """A type in whose texts WeCom can replace ids by names.

    Attributes:
        enable_id_trans: 1 replaces `$userName=USERID$`, `$departmentName=ID$` and the like (doc 90236). Do not set
            it for texts that others wrote: what they write like this is replaced too.
    """

    enable_id_trans: Flag | None = None


def with_media_ids(whole: PartType, ids: Sequence[str]) -> PartType:
    """Return a part with these media_ids in place of its files.

    Raises:
        ValueError: there are not as many media_ids as files, or one is no media_id.
    """
    needed = sum(1 for _ in whole.files())
    if isinstance(ids, str) or len(ids) != needed:
        raise ValueError(f"{needed} media_ids are needed, one for each file, not {len(ids)}")
    return whole.with_files_replaced(iter([str(media_id_or_file(one)) for one in ids]))
