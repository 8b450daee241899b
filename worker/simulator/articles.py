"""textcard, news and mpnews: texts with links (doc 90236)."""

from worker.simulator.answers import RefusedError
from worker.simulator.reading import MOST_URL_BYTES, Part

MOST_ARTICLES = 8
MOST_TITLE, MOST_DESCRIPTION = 128, 512
MOST_BUTTON_CHARACTERS = 4
MOST_PAGEPATH_BYTES = 128
MOST_AUTHOR_BYTES = 64
MOST_ARTICLE_BYTES = 666 * 1024

_TEXTCARD = frozenset({"title", "description", "url", "btntxt"})
_ARTICLES = frozenset({"articles"})
_NEWS = frozenset({"title", "description", "url", "picurl", "appid", "pagepath"})
_MPNEWS = frozenset({"title", "thumb_media_id", "author", "content_source_url", "content", "digest"})


def check_textcard(part: Part) -> None:
    """41016, 41033, 41010 without title, description, url; the texts are cut.

    At 128 and 512 bytes by the older documents and 90248, at as many characters by the newer 90236: as set.
    """
    part.lists(_TEXTCARD)
    cut = part.cut_characters if part.reading.settings.textcard_unit == "characters" else part.cut_bytes
    cut("title", MOST_TITLE, 41016)
    cut("description", MOST_DESCRIPTION, 41033)
    part.url("url", 41010)
    part.cut_characters("btntxt", MOST_BUTTON_CHARACTERS)


def check_news(part: Part) -> None:
    """1 to 8 articles (45008), each with a link or a page of a mini program, whose `url` is then ignored."""
    part.lists(_ARTICLES)
    for article in part.parts("articles", 1, MOST_ARTICLES, 45008):
        article.lists(_NEWS)
        article.cut_bytes("title", MOST_TITLE, 41016)
        article.cut_bytes("description", MOST_DESCRIPTION)
        article.text("picurl", most_bytes=MOST_URL_BYTES, over=40039)
        appid = article.text("appid")
        pagepath = article.text("pagepath", most_bytes=MOST_PAGEPATH_BYTES)
        if bool(appid) != bool(pagepath):
            raise RefusedError(40063)  # both or neither (doc 90236); the errcode is not documented
        if appid:
            article.texts("url")
        else:
            article.url("url", 41010)


def check_mpnews(part: Part) -> None:
    """1 to 8 articles (45008); author 64 bytes (45032), content 666 K bytes (45002); title and digest are cut."""
    part.lists(_ARTICLES)
    for article in part.parts("articles", 1, MOST_ARTICLES, 45008):
        article.lists(_MPNEWS)
        article.cut_bytes("title", MOST_TITLE, 41016)
        article.media("thumb_media_id", "image")
        article.text("author", most_bytes=MOST_AUTHOR_BYTES, over=45032)
        article.texts("content_source_url")
        article.text("content", 40063, most_bytes=MOST_ARTICLE_BYTES, over=45002)
        article.cut_bytes("digest", MOST_DESCRIPTION)
