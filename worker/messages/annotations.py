"""Looks into the annotations of fields: which models they name, and which limits they carry."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - annotations have no common type
    """The models an annotation names, however deep in unions and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models_in(inner)


def rules_of(field: FieldInfo) -> Iterator[object]:
    """What a field is annotated with, also where it may be None."""
    yield from field.metadata
    yield from _annotations(field.annotation)


def _annotations(annotation: Any) -> Iterator[object]:  # noqa: ANN401 - annotations have no common type
    yield from getattr(annotation, "__metadata__", ())
    for inner in get_args(annotation):
        yield from _annotations(inner)
