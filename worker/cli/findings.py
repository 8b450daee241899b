"""What a check found, and in which words `wecom doctor` says so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; only a fault makes the doctor's exit status 1."""

    OK = "ok"
    WARNING = "warning"
    """Works, or goes on by itself, or could not be checked; somebody should know."""
    FAULT = "fault"
    """Messages wait or will, until a person does something."""


WORST_FIRST = (Level.FAULT, Level.WARNING, Level.OK)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: of the check, for programs; it never changes. docs/operations.md lists them all.
        level: how bad it is.
        subject: what it is about, for people.
        words: what was found.
        advice: what to do; empty if there is nothing to do.
        facts: numbers and names in the words, for programs.
    """

    name: str
    level: Level
    subject: str
    words: str
    advice: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)


def fine(name: str, subject: str, words: str, **facts: object) -> Finding:
    """Say that something works."""
    return Finding(name, Level.OK, subject, words, facts=facts)


def warning(name: str, subject: str, words: str, advice: str = "", **facts: object) -> Finding:
    """Say what works but should be known, or could not be checked."""
    return Finding(name, Level.WARNING, subject, words, advice, facts)


def fault(name: str, subject: str, words: str, advice: str, **facts: object) -> Finding:
    """Say what is wrong and what to do."""
    return Finding(name, Level.FAULT, subject, words, advice, facts)


def fault_of(name: str, subject: str, error: Exception) -> Finding:
    """Say what is wrong in the words of an error, which name the advice behind the last semicolon or colon."""
    words = " ".join(str(error).split())
    for separator in ("; ", ": "):
        wrong, found, advice = words.rpartition(separator)
        if found:
            return fault(name, subject, wrong, advice)
    return fault(name, subject, words, "")
