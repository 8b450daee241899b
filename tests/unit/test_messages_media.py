"""Files in place of media_ids, and what may be uploaded for them."""

import io
from pathlib import PurePosixPath
from typing import Any

import pytest

from worker.messages import (
    CardAction,
    Content,
    File,
    HorizontalContent,
    Image,
    InvalidMessage,
    MainTitle,
    MediaFile,
    MpNews,
    MpNewsArticle,
    TextNotice,
    Video,
    Voice,
    check_media,
    content_from_body,
    media_warnings,
)

PAGE = "https://example.com/page"


@pytest.mark.parametrize("kind", [Image, Voice, Video, File])
@pytest.mark.parametrize(
    "where", [{"path": "a.png"}, {"data": b"123456", "filename": "a.png"}, {"url": "https://example.com/a.png"}]
)
def test_a_file_can_be_given_where_the_wire_has_a_media_id(kind: type[Content], where: dict[str, Any]) -> None:
    message = kind(**where)
    assert message == kind(media_id=MediaFile(**where))
    assert message.media_files() == ((kind.msgtype, MediaFile(**where)),)
    with pytest.raises(InvalidMessage, match=f"^{kind.msgtype}.media_id: the file must be uploaded first"):
        message.body()
    assert message.with_media_ids(["M"]) == kind(media_id="M")
    assert message.with_media_ids(["M"]).media_files() == ()


def test_files_are_replaced_in_the_order_in_which_they_are_named() -> None:
    first, second = MediaFile(path="1.png"), MediaFile(data=io.BytesIO(b"2"))
    message = MpNews(
        articles=[
            MpNewsArticle(title="a", thumb_media_id=first, content="x"),
            MpNewsArticle(title="b", thumb_media_id="B", content="x"),
            MpNewsArticle(title="c", thumb_media_id=second, content="x"),
        ]
    )
    assert message.media_files() == (("image", first), ("image", second))
    sent = message.with_media_ids(["A", "C"]).body()
    assert [article["thumb_media_id"] for article in sent["mpnews"]["articles"]] == ["A", "B", "C"]
    for wrong in ([], ["A"], ["A", "B", "C"], "AC", ["A", ""], ["A", 5]):
        with pytest.raises(ValueError, match=r"media_id|is empty"):
            message.with_media_ids(wrong)  # type: ignore[arg-type]


def test_a_card_may_carry_a_file() -> None:
    attachment = MediaFile(path="bill.pdf")
    message = TextNotice(
        main_title=MainTitle(title="x"),
        card_action=CardAction(type=1, url=PAGE),
        horizontal_content_list=[HorizontalContent(type=2, keyname="x", value="bill.pdf", media_id=attachment)],
    )
    assert message.media_files() == (("file", attachment),)
    with pytest.raises(InvalidMessage, match=r"^template_card.horizontal_content_list\[0\].media_id: the file must"):
        message.body()
    sent = message.with_media_ids(["M"])
    assert sent.body()["template_card"]["horizontal_content_list"][0]["media_id"] == "M"
    assert content_from_body(sent.body()) == sent


@pytest.mark.parametrize(
    "image", [{"path": "/etc/passwd"}, {"url": PAGE}, {"media_id": {"path": "/etc/passwd"}}, {"data": "x"}]
)
def test_the_wire_form_cannot_name_a_file(image: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage, match=r"^image\."):
        content_from_body({"msgtype": "image", "image": image})


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "exactly one"),
        ({"path": "a", "data": b"b"}, "exactly one"),
        ({"url": "http://example.com/a.png"}, "media.url: must begin with https://"),
        ({"data": "text"}, "media.data: bytes or a binary stream"),
        ({"path": 5}, "media.path: a path"),
        ({"path": "a", "filename": "../a"}, "media.filename"),
        ({"path": "a", "filename": " "}, "media.filename"),
        ({"path": "a", "filename": "a\x00"}, "media.filename: control character"),
    ],
)
def test_what_can_be_no_file_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        MediaFile(**given)


def test_a_file_or_a_media_id_is_needed_and_not_both() -> None:
    with pytest.raises(InvalidMessage, match=r"^image.media_id: is missing$"):
        Image()
    with pytest.raises(InvalidMessage, match=r"^media_id: give it alone"):
        Image(media_id="M", path="a.png")


def test_the_name_of_a_file_is_the_last_part_of_where_it_is() -> None:
    assert MediaFile(path=PurePosixPath("bills/a.pdf")).name == "a.pdf"
    assert MediaFile(url="https://example.com/bills/%E8%B4%A6.pdf?x=1").name == "账.pdf"
    assert MediaFile(path="a.pdf", filename="b.pdf").name == "b.pdf"
    assert MediaFile(data=b"x").name is None


def test_the_bytes_of_a_file_are_not_shown() -> None:
    assert "payslip" not in repr(Image(data=b"payslip"))


def test_only_files_of_some_formats_can_be_protected() -> None:
    assert File(path="A.PDF", safe=1)
    assert File(path="a.zip", safe=0)
    assert File(media_id="M", safe=1)
    with pytest.raises(InvalidMessage, match=r"^safe: 1 is possible only for bmp, doc"):
        File(path="a.zip", safe=1)


MEBIBYTE = 1024 * 1024
FORMATS = {
    "image": b"\x89PNG\r\n\x1a\n",
    "voice": b"#!AMR-WB\n",
    "video": b"\0\0\0\x18ftypmp42",
    "file": b"",
}


@pytest.mark.parametrize(("kind", "most"), [("image", 10), ("voice", 2), ("video", 10), ("file", 20)])
def test_an_upload_of_exactly_the_largest_size_is_taken_and_one_byte_more_is_not(kind: str, most: int) -> None:
    data = FORMATS[kind].ljust(most * MEBIBYTE, b"x")
    check_media(kind, "a", data)
    with pytest.raises(InvalidMessage, match=f"^a: {len(data) + 1} bytes, at most {len(data)} for kind {kind}$"):
        check_media(kind, "a", data + b"x")


def test_an_upload_has_more_than_5_bytes() -> None:
    check_media("file", "a", b"123456")
    with pytest.raises(InvalidMessage, match=r"^a: 5 bytes, at least 6 for kind file$"):
        check_media("file", "a", b"12345")


@pytest.mark.parametrize(("kind", "complaint"), [("image", "JPG nor PNG"), ("voice", "AMR"), ("video", "MP4")])
def test_an_upload_of_another_format_is_refused(kind: str, complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        check_media(kind, "a.png", b"GIF89a......")


def test_jpg_is_an_image_too() -> None:
    check_media("image", "a", b"\xff\xd8\xff\xe0....")


def test_a_voice_recording_lasts_at_most_60_seconds() -> None:
    frame = b"\x3c" + bytes(31)
    check_media("voice", "a.amr", b"#!AMR\n" + frame * 3000)
    with pytest.raises(InvalidMessage, match=r"^a.amr: 60.02 seconds, at most 60 for kind voice$"):
        check_media("voice", "a.amr", b"#!AMR\n" + frame * 3001)


def test_the_size_of_a_frame_follows_from_its_type() -> None:
    slow = b"\x04" + bytes(12)
    check_media("voice", "a.amr", b"#!AMR\n" + slow * 3000)
    with pytest.raises(InvalidMessage, match=r"60.02 seconds"):
        check_media("voice", "a.amr", b"#!AMR\n" + slow * 3001)


def test_an_unknown_kind_of_upload_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="no kind of media"):
        check_media("picture", "a", b"123456")


def test_images_that_older_pages_do_not_allow_get_a_warning() -> None:
    data = FORMATS["image"].ljust(2 * MEBIBYTE, b"x")
    assert media_warnings("image", "a", data) == ()
    assert media_warnings("image", "a", data + b"x") == ("a: 2097153 bytes, suggested at most 2097152 for an image",)
    assert media_warnings("file", "a", data + b"x") == ()


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        ({"path": "/tmp/a\nb.pdf"}, "media.path: its last part is no name for the file, give filename: "),
        ({"path": "/tmp/a\\b.pdf"}, "media.path: its last part"),
        ({"path": "/tmp/\udce4.pdf"}, "lone surrogate U+DCE4"),
        ({"path": "/tmp/" + "x" * 256}, "256 bytes of UTF-8, at most 255 for a name"),
        ({"path": "/tmp/a\0b.pdf"}, "media.path: a path is needed, as a string without NUL"),
        ({"url": "https://example.com/a%0Ab.pdf"}, "media.url: its last part is no name for the file, give filename: "),
        ({"url": "https://example.com/a%5Cb.pdf"}, "media.url: its last part"),
        ({"url": "https://example.com/a%00b.pdf"}, "control character U+0000"),
        ({"url": "https://example.com/" + "x" * 256}, "at most 255 for a name"),
        ({"url": "https://[example.com/a.pdf"}, "media.url: is no address"),
        ({"data": b"x", "filename": "x" * 256}, "media.filename: 256 bytes of UTF-8, at most 255"),
        ({"data": b"x", "filename": " "}, "media.filename: a name without slashes"),
    ],
)
def test_a_name_from_a_path_or_an_address_is_checked_like_a_given_one(where: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        MediaFile(**where)
    assert complaint in str(caught.value)
    if "filename" not in where and "no name" in complaint:
        assert MediaFile(**where, filename="b.pdf").name == "b.pdf"


@pytest.mark.parametrize(
    ("media_id", "complaint"),
    [("a" * 257, "at most 256"), ("a b", "holds blanks"), ("a\n", "holds blanks"), ("a\0", "control character")],
)
def test_a_media_id_is_bounded_and_holds_no_blanks(media_id: str, complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=rf"image\.media_id: .*{complaint}"):
        Image(media_id=media_id)
