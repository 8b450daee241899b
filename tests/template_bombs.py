"""Templates that would run for ever, or fill the memory, in a program that bounds nothing."""

from typing import Any, NamedTuple


class Bomb(NamedTuple):
    """A template, and the row it is filled in with."""

    template: str
    row: dict[str, Any]


def _within(opening: str, depth: int, inner: str, closing: str) -> str:
    return "".join(opening.format(n, n + 1) for n in range(depth)) + inner + closing * depth


BOMBS = {
    "loops that show nothing": Bomb(_within("{{% for v{1} in x %}}", 3, "", "{% endfor %}") + "z", {"x": [0] * 3000}),
    "a text twice as long in each loop": Bomb(
        _within("{{% for v{1} in [v{0} ~ v{0}] %}}", 15, "", "{% endfor %}") + "z", {"v0": "x" * 9999}
    ),
    "a list twice as long in each loop": Bomb(
        _within("{{% for v{1} in [[v{0}, v{0}]] %}}", 15, "{{ v14 }}", "{% endfor %}"), {"v0": "x" * 9999}
    ),
    "lists within lists, shown": Bomb("{{ x }}", {"x": [[[["9" * 99] * 99] * 99] * 99]}),
    "round with any precision": Bomb("{{ 1|round(100000000, 'ceil') }}", {}),
    "round with the precision of a row": Bomb("{{ 1|round(x, 'floor') }}", {"x": 100_000_000}),
    "sum of lists": Bomb("{{ x|sum(start=[])|length }}", {"x": [[0]] * 300_000}),
    "tags without an end": Bomb("{{ x|striptags }}", {"x": "<!---->" * 400_000}),
    "words without an end": Bomb("{{ x|title|title|title|title|title|title }}", {"x": "a-" * 4_000_000}),
    "characters escaped again and again": Bomb("{{ x" + "|forceescape" * 25 + " }}", {"x": "&" * 1_000_000}),
    "comparisons": Bomb(
        "{% for a in x %}{% if a == y %}{% endif %}{% endfor %}z", {"x": ["y" * 999_999] * 99_999, "y": "y"}
    ),
    "filters within filters": Bomb("{{ x" + "|upper" * 190 + " }}", {"x": "y"}),
    "signs within signs": Bomb("{{ " + "not " * 150 + "x }}", {"x": "y"}),
    "a sum of many": Bomb("{{ " + " + ".join("x" * 190) + " }}", {"x": 1}),
    "many names": Bomb("{{ x }}" * 200_000, {"x": "y"}),
    "many constants": Bomb("{{ [" + "1," * 500_000 + "] }}", {}),
    "many loops": Bomb("{% for a in x %}{% endfor %}" * 100_000, {"x": "y"}),
}
