"""Messages of every type, for tests by property: lengths near the limits, and characters that cause trouble.

`MESSAGES` has one strategy a kind, by `msgtype`, or by `card_type` for template cards.
"""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from worker.messages import CARDS, TYPES, Content, content_from_body

CHARACTERS = "aZ09 .,:;!?\"'\\/|<>&{}[]$%#*`\n\t你好企业微信，。“”（）éß🧧👍🏽\u200d👩\u2028\x7f"
TASK_CHARACTERS = "abcXYZ0189_-@"
PIECES = st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=8)


@st.composite
def words(draw: st.DrawFn, most: int, unit: str = "characters", least: int = 1) -> str:
    """A text with more than blanks, either short or as long as the limit allows."""
    piece = draw(PIECES)
    size = draw(st.sampled_from([least, most, most - 1, most]) | st.integers(least, most))
    text = "字" + piece if size > 3 else "x"
    text *= size // len(text) + 1
    if unit == "bytes":
        cut = text.encode()[:size].decode(errors="ignore")
        return cut + "x" * (size - len(cut.encode()))
    return text[:size]


def maybe(**fields: SearchStrategy[Any]) -> SearchStrategy[dict[str, Any]]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def both(first: SearchStrategy[dict[str, Any]], second: SearchStrategy[dict[str, Any]]) -> SearchStrategy[Any]:
    """The fields of two objects in one."""
    return st.tuples(first, second).map(lambda pair: pair[0] | pair[1])


@st.composite
def distinct(draw: st.DrawFn, item: SearchStrategy[dict[str, Any]], field: str, least: int, most: int) -> Any:  # noqa: ANN401 - JSON
    """A list whose items differ in the first character of one field, as long as the limit allows or shorter."""
    size = draw(st.sampled_from([least, most]) | st.integers(least, most))
    items = draw(st.lists(item, min_size=size, max_size=size))
    return [one | ({field: FIRST[number] + one[field][1:]} if field in one else {}) for number, one in enumerate(items)]


FIRST = "0123456789abcdefghij"
ADDRESS_PIECES = st.text(st.sampled_from("ab?=&%20/.#你好"), max_size=6)
URL = st.builds(
    lambda scheme, piece, long: (f"{scheme}://example.com/{piece}" + "x" * 2048).encode()[
        : 2048 if long else 22 + len(piece.encode())
    ],
    st.sampled_from(["http", "https"]),
    ADDRESS_PIECES,
    st.booleans(),
).map(lambda address: address.decode(errors="ignore"))
FLAG = st.sampled_from([0, 1])
MEDIA_ID = st.text(st.sampled_from("abcXYZ0189_-"), min_size=1, max_size=64)
APPID = st.just("wx0123456789abcdef")
KEY = words(1024, "bytes")
OPTION_ID = words(128, "bytes")
TASK_ID = st.builds(
    lambda text, long: (text * 128)[: 128 if long else len(text)],
    st.text(st.sampled_from(TASK_CHARACTERS), min_size=1, max_size=20),
    st.booleans(),
)
DUPLICATE_CHECK = maybe(
    enable_duplicate_check=FLAG,
    duplicate_check_interval=st.sampled_from([1, 1800, 14_400]) | st.integers(1, 14_400),
)
TRANSLATABLE = both(DUPLICATE_CHECK, maybe(enable_id_trans=FLAG))
LINK = st.one_of(
    st.just({}),
    st.just({"type": 0}),
    both(st.fixed_dictionaries({"type": st.just(1), "url": URL}), maybe(appid=APPID, pagepath=words(40))),
    both(st.fixed_dictionaries({"type": st.just(2), "appid": APPID}), maybe(url=URL, pagepath=words(40))),
)
CLICK = LINK.filter(lambda link: link.get("type", 0) != 0)
SOURCE = maybe(icon_url=URL, desc=words(20), desc_color=st.integers(0, 3))
PLAIN_SOURCE = maybe(icon_url=URL, desc=words(20))
ACTION_MENU = both(
    st.fixed_dictionaries(
        {"action_list": distinct(st.fixed_dictionaries({"text": words(10), "key": KEY}), "key", 1, 3)}
    ),
    maybe(desc=words(20)),
)
TITLE = both(st.fixed_dictionaries({"title": words(36)}), maybe(desc=words(44)))
QUOTE = both(LINK, maybe(title=words(20), quote_text=words(60)))
LINE = both(
    st.fixed_dictionaries({"keyname": words(5)}),
    st.one_of(
        maybe(type=st.just(0), value=words(30)),
        both(st.fixed_dictionaries({"type": st.just(1), "url": URL}), maybe(value=words(30))),
        st.fixed_dictionaries({"type": st.just(2), "media_id": MEDIA_ID, "value": st.just("账单.pdf")}),
        both(
            st.fixed_dictionaries({"type": st.just(3), "userid": st.sampled_from(["zhangsan", "u" * 64])}),
            maybe(value=words(30)),
        ),
    ),
)
LINES = st.lists(LINE, max_size=6) | st.lists(LINE, min_size=6, max_size=6)
JUMP = both(st.fixed_dictionaries({"title": words(18)}), LINK)
VERTICAL = both(st.fixed_dictionaries({"title": words(38)}), maybe(desc=words(160)))
OPTIONS = distinct(st.fixed_dictionaries({"id": OPTION_ID, "text": words(16)}), "id", 1, 10)


@st.composite
def selections(draw: st.DrawFn) -> dict[str, Any]:
    """A drop-down list, with one of its own entries selected or none."""
    options = draw(OPTIONS)
    selected = draw(st.sampled_from([None, *(option["id"] for option in options)]))
    fields = {"question_key": draw(KEY), "option_list": options} | draw(maybe(title=words(20)))
    return fields | ({"selected_id": selected} if selected is not None else {})


BUTTON = both(
    st.one_of(
        st.fixed_dictionaries({"key": KEY}, optional={"type": st.just(0)}),
        st.fixed_dictionaries({"type": st.just(1), "url": URL}),
    ),
    st.fixed_dictionaries({"text": words(10)}, optional={"style": st.integers(1, 4)}),
)
CHECKBOX = st.fixed_dictionaries(
    {
        "question_key": KEY,
        "option_list": distinct(
            st.fixed_dictionaries({"id": OPTION_ID, "text": words(17), "is_checked": st.booleans()}), "id", 1, 20
        ),
    },
    optional={"mode": FLAG},
)
SUBMIT = st.fixed_dictionaries({"text": words(10), "key": KEY})
MENU_AND_TASK = st.one_of(
    st.just({}), maybe(task_id=TASK_ID), st.fixed_dictionaries({"action_menu": ACTION_MENU, "task_id": TASK_ID})
)
NOTICE = both(
    both(MENU_AND_TASK, st.fixed_dictionaries({"card_action": CLICK})),
    maybe(
        source=SOURCE,
        quote_area=QUOTE,
        horizontal_content_list=LINES,
        jump_list=st.lists(JUMP, max_size=3),
    ),
)
PICTURE = both(
    st.fixed_dictionaries({"url": URL}),
    maybe(aspect_ratio=st.sampled_from([1.3, 2, 2.24]) | st.floats(1.31, 2.24)),
)
SIDE_PICTURE = both(both(LINK, st.fixed_dictionaries({"image_url": URL})), maybe(title=words(20), desc=words(40)))
CARD_FIELDS: Mapping[str, SearchStrategy[dict[str, Any]]] = {
    "text_notice": both(
        NOTICE,
        both(
            st.one_of(
                st.fixed_dictionaries({"main_title": TITLE}),
                st.fixed_dictionaries({"sub_title_text": words(160)}),
                st.fixed_dictionaries({"main_title": TITLE, "sub_title_text": words(160)}),
            ),
            maybe(emphasis_content=maybe(title=words(14), desc=words(22))),
        ),
    ),
    "news_notice": both(
        NOTICE,
        both(
            st.one_of(
                st.fixed_dictionaries({"card_image": PICTURE}),
                st.fixed_dictionaries({"image_text_area": SIDE_PICTURE}),
                st.fixed_dictionaries({"card_image": PICTURE, "image_text_area": SIDE_PICTURE}),
            ),
            st.fixed_dictionaries(
                {"main_title": TITLE}, optional={"vertical_content_list": st.lists(VERTICAL, max_size=4)}
            ),
        ),
    ),
    "button_interaction": st.fixed_dictionaries(
        {"main_title": TITLE, "button_list": distinct(BUTTON, "key", 1, 6), "task_id": TASK_ID},
        optional={
            "source": SOURCE,
            "action_menu": ACTION_MENU,
            "quote_area": QUOTE,
            "sub_title_text": words(160),
            "horizontal_content_list": LINES,
            "card_action": LINK.filter(lambda link: "type" in link),
            "button_selection": selections(),
        },
    ),
    "vote_interaction": st.fixed_dictionaries(
        {"main_title": TITLE, "checkbox": CHECKBOX, "submit_button": SUBMIT, "task_id": TASK_ID},
        optional={"source": PLAIN_SOURCE},
    ),
    "multiple_interaction": st.fixed_dictionaries(
        {
            "main_title": TITLE,
            "select_list": distinct(selections(), "question_key", 1, 3),
            "submit_button": SUBMIT,
            "task_id": TASK_ID,
        },
        optional={"source": PLAIN_SOURCE},
    ),
}
ARTICLE = both(
    st.fixed_dictionaries({"title": words(128, "bytes")}, optional={"description": words(512, "bytes"), "picurl": URL}),
    st.one_of(
        st.fixed_dictionaries({"url": URL}),
        st.fixed_dictionaries({"appid": APPID, "pagepath": words(128, "bytes")}, optional={"url": URL}),
    ),
)
MPNEWS_ARTICLE = st.fixed_dictionaries(
    {"title": words(128, "bytes"), "thumb_media_id": MEDIA_ID, "content": words(3000, "bytes")},
    optional={"author": words(64, "bytes"), "content_source_url": URL, "digest": words(512, "bytes")},
)
MEDIA = st.fixed_dictionaries({"media_id": MEDIA_ID})
SIMPLE_FIELDS: Mapping[str, SearchStrategy[dict[str, Any]]] = {
    "text": st.fixed_dictionaries({"content": words(2048, "bytes")}),
    "image": MEDIA,
    "voice": MEDIA,
    "video": both(MEDIA, maybe(title=words(128, "bytes"), description=words(512, "bytes"))),
    "file": MEDIA,
    "textcard": st.fixed_dictionaries(
        {"title": words(128, "bytes"), "description": words(512, "bytes"), "url": URL}, optional={"btntxt": words(4)}
    ),
    "news": st.fixed_dictionaries({"articles": st.lists(ARTICLE, min_size=1, max_size=8)}),
    "mpnews": st.fixed_dictionaries({"articles": st.lists(MPNEWS_ARTICLE, min_size=1, max_size=8)}),
    "markdown": st.fixed_dictionaries({"content": words(2048, "bytes")}),
    "miniprogram_notice": st.fixed_dictionaries(
        {"appid": APPID, "title": words(12, least=4)},
        optional={
            "page": words(1024, "bytes"),
            "description": words(12, least=4),
            "emphasis_first_item": st.booleans(),
            "content_item": st.lists(st.fixed_dictionaries({"key": words(10), "value": words(30)}), max_size=10),
        },
    ),
}
SAFE: Mapping[str, SearchStrategy[dict[str, Any]]] = {
    **dict.fromkeys(("text", "image", "video", "file"), maybe(safe=FLAG)),
    "mpnews": maybe(safe=st.sampled_from([0, 1, 2])),
}
UNTRANSLATABLE = ("image", "voice", "video", "file", "markdown")


def _options(kind: str) -> SearchStrategy[dict[str, Any]]:
    translated = DUPLICATE_CHECK if kind in UNTRANSLATABLE else TRANSLATABLE
    return both(translated, SAFE.get(kind, st.just({})))


def _bodies(kind: str) -> SearchStrategy[dict[str, Any]]:
    msgtype = "template_card" if kind in CARDS else kind
    fields = CARD_FIELDS[kind].map(lambda card: {"card_type": kind} | card) if kind in CARDS else SIMPLE_FIELDS[kind]
    return st.tuples(fields, _options(kind)).map(lambda drawn: {"msgtype": msgtype, msgtype: drawn[0]} | drawn[1])


KINDS = (*(kind for kind in TYPES if kind != "template_card"), *CARDS)
BODIES: Mapping[str, SearchStrategy[dict[str, Any]]] = {kind: _bodies(kind) for kind in KINDS}
"""Wire forms that must be accepted."""
MESSAGES: Mapping[str, SearchStrategy[Content]] = {kind: BODIES[kind].map(content_from_body) for kind in KINDS}
"""The same as messages."""
