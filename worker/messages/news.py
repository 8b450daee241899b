"""Articles that link to a page (doc 90236, 图文消息) and articles that hold their text (图文消息 mpnews)."""

from typing import Annotated, ClassVar, Self

from pydantic import model_validator

from worker.messages.content import TranslatableContent
from worker.messages.limits import AppId, Characters, Choice, Items, Size, Url, Whole, Words
from worker.messages.mediafile import MediaFile, MediaOf
from worker.messages.part import Part
from worker.messages.refusals import fault

MOST_ARTICLES = 8
"""More are refused with 45008 (doc 90313)."""


class NewsArticle(Part):
    """An article that links to a page or a mini program (doc 90236); it needs url, or appid and pagepath.

    Attributes:
        title: at most 128 bytes of UTF-8 (41016 without it).
        description: at most 512 bytes of UTF-8.
        url: http or https, at most 2048 bytes; WeCom ignores it beside appid and pagepath.
        picurl: a JPG or PNG, at most 2048 bytes; 1068 x 455 pixels large or 150 x 150 small are recommended.
        appid: of a mini program that is linked to the app; needs pagepath.
        pagepath: the page it opens, at most 128 bytes; needs appid.
    """

    title: Annotated[Words, Size(128, "bytes")]
    description: Annotated[Characters, Size(512, "bytes")] | None = None
    url: Url | None = None
    picurl: Url | None = None
    appid: AppId | None = None
    pagepath: Annotated[Words, Size(128, "bytes")] | None = None

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if (self.appid is None) != (self.pagepath is None):
            missing, given = ("appid", "pagepath") if self.appid is None else ("pagepath", "appid")
            raise fault(missing, f"is missing, needed with {given}")
        if self.url is None and self.appid is None:
            raise fault("url", "is missing; give url, or appid and pagepath")
        return self


class News(TranslatableContent):
    """One to eight articles that link to pages; the first is shown large (doc 90236).

    Attributes:
        articles: 1 to 8 (errcode 45008).
    """

    msgtype: ClassVar[str] = "news"

    articles: Annotated[tuple[NewsArticle, ...], Items(MOST_ARTICLES, least=1)]


class MpNewsArticle(Part):
    """An article that WeCom keeps (doc 90236); each sending counts as a new article in its statistics.

    Attributes:
        title: at most 128 bytes of UTF-8.
        thumb_media_id: its picture, a media_id of an image or a `MediaFile`.
        author: at most 64 bytes of UTF-8 (45032).
        content_source_url: where "read the original" leads, http or https, at most 2048 bytes.
        content: HTML, at most 666 KiB (45002); its pictures must come from media/uploadimg (doc 90256).
        digest: at most 512 bytes of UTF-8.
    """

    title: Annotated[Words, Size(128, "bytes")]
    thumb_media_id: Annotated[str | MediaFile, MediaOf("image")]
    author: Annotated[Characters, Size(64, "bytes")] | None = None
    content_source_url: Url | None = None
    content: Annotated[Words, Size(666 * 1024, "bytes")]
    digest: Annotated[Characters, Size(512, "bytes")] | None = None


class MpNews(TranslatableContent):
    """One to eight articles that WeCom keeps (doc 90236).

    Attributes:
        articles: 1 to 8.
        safe: 1 forbids sharing, 2 allows it within the corp; 0 if not given.
    """

    msgtype: ClassVar[str] = "mpnews"

    articles: Annotated[tuple[MpNewsArticle, ...], Items(MOST_ARTICLES, least=1)]
    safe: Annotated[Whole, Choice((0, 1, 2))] | None = None
