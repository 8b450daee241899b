"""Repetitions are never missed, in a space that does not grow."""

from worker.delivery.repetitions import BITS, Repetitions
from worker.ledger import array_of


def test_a_repetition_is_never_missed() -> None:
    repetitions = Repetitions()
    values = [f"u{n}" for n in range(50_000)]
    for value in values:
        repetitions.perhaps(value)
    assert all(repetitions.perhaps(value) for value in values)


def test_hardly_anything_new_is_taken_for_a_repetition() -> None:
    repetitions = Repetitions()
    doubtful = sum(repetitions.perhaps(f"u{n}") for n in range(100_000))
    assert doubtful <= 100_000**2 / 2 / BITS * 3


def test_arrays_are_written_as_copy_reads_them() -> None:
    assert array_of(["a", "b"]) == b'{"a","b"}'
    assert array_of(['a"b', "c\\d"]) == rb'{"a\\"b","c\\\\d"}'
