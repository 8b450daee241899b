"""Remembers in a fixed space what was there before, without ever missing a repetition."""

BITS = 1 << 27
"""16 MiB: of a million values some 4,000 are taken for a repetition and are none."""


class Repetitions:
    """Says of each value whether it may have been there before: no is certain, perhaps is not."""

    def __init__(self) -> None:
        self._bits = bytearray(BITS >> 3)

    def perhaps(self, value: str) -> bool:
        """Whether the value may have been there before; from now on it has."""
        position = hash(value) & (BITS - 1)
        byte, bit = position >> 3, 1 << (position & 7)
        if self._bits[byte] & bit:
            return True
        self._bits[byte] |= bit
        return False
