"""An object of the wire form: a message, a card, or a piece of one."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, ClassVar, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from worker.messages.annotations import rules_of
from worker.messages.limits import Suggested, Whole
from worker.messages.mediafile import MediaFile, MediaOf
from worker.messages.refusals import InvalidMessage, fault, one_line, path_of

Steps = tuple[str | int, ...]
Init = TypeVar("Init", bound=Callable[..., None])


def constructor(init: Init) -> Init:
    """Mark an `__init__` that only programs call; pydantic passes it by when it reads the wire form.

    Then it is the whole that reports what is wrong in its parts, with the full path, and nothing on the wire can
    use what is meant for Python. (It is the mark of pydantic's own BaseModel.) Values without a name are refused in
    one line.
    """

    @wraps(init)
    def by_name(self: BaseModel, /, *values: object, **fields: Any) -> None:  # noqa: ANN401 - judged by `init`
        if values:
            kind = type(self)
            raise InvalidMessage(f"{kind.__name__}: say what it is, like {kind.__name__}({_first_field(kind)}=...)")
        init(self, **fields)

    by_name.__pydantic_base_init__ = True  # type: ignore[attr-defined]
    return cast("Init", by_name)


def _first_field(kind: type[BaseModel]) -> str:
    """Name the field that somebody who gave a value without a name most likely meant."""
    needed = (name for name, field in kind.model_fields.items() if field.is_required())
    return next(needed, next(iter(kind.model_fields)))


class Part(BaseModel):
    """One JSON object; its fields are named as on the wire, and None is a field that is not written.

    Two parts are equal if they say the same. A part cannot be changed once it is made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    suggested: ClassVar[Mapping[str, Suggested]] = {}
    media: ClassVar[Mapping[str, str]] = {}

    @constructor
    def __init__(self, **fields: Any) -> None:  # noqa: ANN401 - pydantic judges them
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InvalidMessage(self._refusal(error)) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:  # noqa: ANN401 - pydantic's protocol
        """Find once, and not for every message, which fields have a suggested length or may hold a file."""
        rules = {name: tuple(rules_of(field)) for name, field in cls.model_fields.items()}
        cls.suggested = {n: rule for n, found in rules.items() for rule in found if isinstance(rule, Suggested)}
        cls.media = {n: rule.kind for n, found in rules.items() for rule in found if isinstance(rule, MediaOf)}

    @classmethod
    def _refusal(cls, error: ValidationError) -> str:
        return one_line(error, cls, ())

    def parts(self) -> Iterator[tuple[Steps, "Part"]]:
        """This part and all parts in it, each with the way to it, in the order of the fields."""
        yield (), self
        for name, value in self.__dict__.items():
            if isinstance(value, Part):
                yield from (((name, *steps), part) for steps, part in value.parts())
            elif isinstance(value, tuple):
                for position, item in enumerate(value):
                    if isinstance(item, Part):
                        yield from (((name, position, *steps), part) for steps, part in item.parts())

    def files(self) -> Iterator[tuple[Steps, str, MediaFile]]:
        """Every file that is still to be uploaded: the way to it, its kind, and the file."""
        for steps, part in self.parts():
            for name, kind in part.media.items():
                value = getattr(part, name)
                if isinstance(value, MediaFile):
                    yield (*steps, name), kind, value

    def with_files_replaced(self, media_ids: Iterator[str]) -> Self:
        """A copy in which each file, in the order of `files`, is replaced by the next of these media_ids."""
        changes: dict[str, object] = {}
        for name, value in self.__dict__.items():
            if isinstance(value, MediaFile):
                changes[name] = next(media_ids)
            elif isinstance(value, Part):
                changes[name] = value.with_files_replaced(media_ids)
            elif isinstance(value, tuple):
                changes[name] = tuple(
                    item.with_files_replaced(media_ids) if isinstance(item, Part) else item for item in value
                )
        return self.model_copy(update=changes)

    def suggestions_passed(self, otherwise: Mapping[str, int]) -> Iterator[tuple[Steps, str]]:
        """Every text that is longer than WeCom suggests: the way to it, and the sentence about it.

        Args:
            otherwise: suggestions of this whole that differ from those of its parts, by the path of the field.
        """
        for steps, part in self.parts():
            for name, suggestion in part.suggested.items():
                text, where = getattr(part, name), (*steps, name)
                warning = text and suggestion.warning(text, otherwise.get(path_of(where)))
                if warning:
                    yield where, warning


class ByType(Part):
    """A part whose `type` says which of its other fields it needs; without a type it is 0."""

    needs: ClassVar[Mapping[int, str]] = {}
    type: Whole | None = None

    @model_validator(mode="after")
    def _what_the_type_needs(self) -> Self:
        needed = self.needs.get(self.type or 0)
        if needed is not None and getattr(self, needed) is None:
            raise fault(needed, f"is missing, needed with type {self.type or 0}")
        return self
