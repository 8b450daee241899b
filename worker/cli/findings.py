"""What a check found, and in which words `wecom doctor` says so."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check went; only a problem makes the doctor's exit status 1."""

    OK = "ok"
    NOTE = "note"
    """Works, but somebody should know."""
    SKIPPED = "skipped"
    """Could not be checked because of another problem."""
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    subject: str
    verdict: Verdict
    words: str
    advice: str = ""


def fine(subject: str, words: str) -> Finding:
    """Say that something works."""
    return Finding(subject, Verdict.OK, words)


def note(subject: str, words: str, advice: str = "") -> Finding:
    """Say what works but should be known."""
    return Finding(subject, Verdict.NOTE, words, advice)


def skipped(subject: str, words: str) -> Finding:
    """Say why something was not checked."""
    return Finding(subject, Verdict.SKIPPED, words)


def problem(subject: str, words: str, advice: str) -> Finding:
    """Say what is wrong and what to do."""
    return Finding(subject, Verdict.PROBLEM, words, advice)


def problem_of(subject: str, error: Exception) -> Finding:
    """Say what is wrong in the words of an error, which name the advice behind the last semicolon or colon."""
    words = " ".join(str(error).split())
    for separator in ("; ", ": "):
        wrong, found, advice = words.rpartition(separator)
        if found:
            return problem(subject, wrong, advice)
    return problem(subject, words, "")
