"""The simulator takes files as WeCom does: forms, formats, sizes, the life of a media_id, permanent pictures."""

import hashlib
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from worker.simulator.control import SimulatorControl

AGENT = 1000002
NOON_IN_BEIJING = 1_767_240_000.0
DAY = 86_400
MEGABYTE = 1024 * 1024
PNG, JPG, GIF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a"
AMR, MP4 = b"#!AMR\n", b"\0\0\0\x18ftypmp42"
NARROW_FRAME, WIDE_FRAME, NO_FRAME = b"\x3c" + b"\0" * 31, b"\x44" + b"\0" * 60, b"\x50"
"""20 ms at 12.2 kbit/s (32 bytes), at 23.85 kbit/s (61 bytes), and a reserved type that is no frame."""


class Caller:
    """A program that uploads and sends."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.own_token = self.token()

    def token(self, corpid: str = "ww-simulator", secret: str = "simulator-secret") -> str:
        parameters = {"corpid": corpid, "corpsecret": secret}
        answer = self.session.get(f"{self.base_url}/cgi-bin/gettoken", params=parameters, timeout=10)
        return str(answer.json()["access_token"])

    def upload(
        self, kind: str, content: bytes, filename: str = "f", *, part: str = "media", token: str = ""
    ) -> dict[str, Any]:
        query = f"access_token={token or self.own_token}&type={kind}"
        url = f"{self.base_url}/cgi-bin/media/upload?{query}"
        return dict(self.session.post(url, files={part: (filename, content)}, timeout=30).json())

    def upload_form(self, body: bytes, content_type: str = "multipart/form-data; boundary=B") -> int:
        url = f"{self.base_url}/cgi-bin/media/upload?access_token={self.own_token}&type=file"
        headers = {"Content-Type": content_type} if content_type else {}
        return int(self.session.post(url, data=body, headers=headers, timeout=10).json()["errcode"])

    def upload_permanent(self, content: bytes, filename: str = "p.png") -> dict[str, Any]:
        url = f"{self.base_url}/cgi-bin/media/uploadimg?access_token={self.own_token}"
        return dict(self.session.post(url, files={"fieldNameHere": (filename, content)}, timeout=10).json())

    def send_file(self, media_id: str, token: str = "", agentid: int = AGENT) -> int:
        url = f"{self.base_url}/cgi-bin/message/send?access_token={token or self.own_token}"
        message = {"touser": "a", "msgtype": "file", "agentid": agentid, "file": {"media_id": media_id}}
        return int(self.session.post(url, json=message, timeout=10).json()["errcode"])


@pytest.fixture
def caller(simulator: SimulatorControl) -> Iterator[Caller]:
    simulator.change_settings(token_life=99 * DAY)
    simulator.set_clock(NOON_IN_BEIJING, frozen=True)
    caller = Caller(simulator.base_url)
    with caller.session:
        yield caller


# --- upload


def test_an_upload_is_answered_as_documented_and_recorded(caller: Caller, simulator: SimulatorControl) -> None:
    content = b"\0\r\n--\r\n\xff" * 1000
    answer = caller.upload("file", content, "工资条 二月.pdf")
    assert answer == {
        "errcode": 0,
        "errmsg": "ok",
        "type": "file",
        "media_id": answer["media_id"],
        "created_at": "1767240000",
    }
    (upload,) = simulator.uploads()
    assert (upload.number, upload.at, upload.corpid, upload.agentid) == (0, NOON_IN_BEIJING, "ww-simulator", AGENT)
    assert (upload.kind, upload.filename, upload.content_type) == ("file", "工资条 二月.pdf", "")
    assert (upload.size, upload.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (upload.times, upload.media_id, upload.url, upload.ended_with) == (1, answer["media_id"], "", 0)
    counters = simulator.counters()
    assert (counters.uploads, counters.calls["upload"], counters.answers["upload"]) == (1, 1, {0: 1})


def test_created_at_can_be_a_number(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.change_settings(created_at_number=True)
    assert caller.upload("file", b"content")["created_at"] == 1767240000


def test_the_same_bytes_are_counted_and_get_another_media_id(caller: Caller, simulator: SimulatorControl) -> None:
    for kind, content in (("file", PNG), ("file", PNG), ("image", PNG), ("file", JPG + b"..")):
        caller.upload(kind, content)
    assert [upload.times for upload in simulator.uploads()] == [1, 2, 1, 1]
    assert len({upload.media_id for upload in simulator.uploads()}) == 4
    assert [upload.number for upload in simulator.uploads(since=2)] == [2, 3]


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("file", b"12345", 40006),
        ("file", b"123456", 0),
        ("image", b"", 44001),
        ("image", PNG, 0),
        ("image", JPG + b"..", 0),
        ("image", GIF, 40004),
        ("image", b"plain text", 40004),
        ("voice", AMR, 0),
        ("voice", b"#!AMR-WB\n", 0),
        ("voice", b"ID3 an mp3", 40004),
        ("video", MP4, 0),
        ("video", b"RIFF....AVI ", 40004),
        ("picture", PNG, 40005),
        ("", PNG, 40005),
        ("voice", AMR + NARROW_FRAME * 3000, 0),
        ("voice", AMR + NARROW_FRAME * 3001, 45007),
        ("voice", b"#!AMR-WB\n" + WIDE_FRAME * 3000, 0),
        ("voice", b"#!AMR-WB\n" + WIDE_FRAME * 3001, 45007),
        ("image", PNG.ljust(10 * MEGABYTE), 0),
        ("image", PNG.ljust(10 * MEGABYTE + 1), 40009),
        ("voice", AMR.ljust(2 * MEGABYTE, NO_FRAME), 0),
        ("voice", AMR.ljust(2 * MEGABYTE + 1, NO_FRAME), 45001),
        ("video", MP4.ljust(10 * MEGABYTE), 0),
        ("video", MP4.ljust(10 * MEGABYTE + 1), 40011),
        ("file", bytes(20 * MEGABYTE), 0),
        ("file", bytes(20 * MEGABYTE + 1), 45001),
        ("file", bytes(25 * MEGABYTE), 45001),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_each_kind_has_its_format_and_size(
    caller: Caller, simulator: SimulatorControl, kind: str, content: bytes, errcode: int
) -> None:
    assert caller.upload(kind, content)["errcode"] == errcode
    assert len(simulator.uploads()) == (errcode == 0)


@pytest.mark.parametrize(
    ("filename", "content", "errcode"),
    [("a.PNG", b"no picture", 40123), ("a.jpeg", GIF, 40004), ("a.gif", b"no picture", 40004), ("a.gif", PNG, 0)],
)
def test_a_picture_by_its_name_that_is_none_is_damaged(
    caller: Caller, filename: str, content: bytes, errcode: int
) -> None:
    assert caller.upload("image", content, filename)["errcode"] == errcode
    assert caller.upload_permanent(content, filename)["errcode"] == errcode


def form(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\n" + part + b"\r\n" for part in parts) + end


def part(disposition: bytes = b'form-data; name="media"; filename="f.txt"', content: bytes = b"content") -> bytes:
    return b"Content-Disposition: " + disposition + b"\r\n\r\n" + content


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (form(part()), 0),
        (form(part(), end=b"--B--"), 0),
        (form(part(b'form-data; name="media";filename="f.txt"; filelength=7')), 0),
        (form(part(b'form-data; name="media";filename="f.txt"; filelength="7"')), 0),
        (form(part(b'form-data; name="media"; filename="f.txt"; filelength=8')), 40123),
        (form(part(b"form-data; name=media; filename=f.txt")), 0),
        (form(part(b'form-data; name="note"', b"x"), part()), 0),
        (form(part(content=b"a--B\r\nb\r\n-B\r\nc\n--B--")), 0),
        (form(part(), part()), 40058),
        (form(part(content=b"")), 44001),
        (form(part(b'form-data; name="file"; filename="f.txt"')), 44001),
        (form(part(b'form-data; name="media"')), 44001),
        (form(part(b'form-data; name="media"; filename=""')), 44001),
        (form(part(b"form-data; name=\"media\"; filename*=UTF-8''f.txt")), 44001),
        (form(part(b'form-data; name="media"; name="media"; filename="f"')), 40058),
        (form(), 44001),
        (b"", 40058),
        (b"content", 40058),
        (form(part(b'attachment; name="media"; filename="f.txt"')), 40058),
        (form(part(), end=b""), 40058),
        (form(part(), end=b"--B\r\n"), 40058),
        (form(part()) + b"more", 40058),
        (form(b"no head at all"), 40058),
        (form(part(b'form-data; name="media"; filename="\xff"')), 40058),
        (b"preamble\r\n" + form(part()), 40058),
        (form(*[part(b'form-data; name="note"', b"x")] * 17), 40058),
    ],
)
def test_a_form_is_read_strictly(caller: Caller, body: bytes, errcode: int) -> None:
    assert caller.upload_form(body) == errcode


@pytest.mark.parametrize(
    ("content_type", "errcode"),
    [
        ("Multipart/Form-Data; charset=utf-8; Boundary=B", 0),
        ('multipart/form-data;boundary="B"', 0),
        ("multipart/form-data; boundary=b", 40058),
        ("multipart/form-data", 40058),
        ("multipart/form-data; boundary=", 40058),
        ("multipart/mixed; boundary=B", 40058),
        ("application/json", 40058),
        ("", 40058),
    ],
)
def test_a_form_says_that_it_is_one(caller: Caller, content_type: str, errcode: int) -> None:
    assert caller.upload_form(form(part()), content_type) == errcode


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("工资.pdf".encode(), "工资.pdf"),
        (b"a%22b.txt", 'a"b.txt'),
        (rb"a\"b\\c.txt", 'a"b\\c.txt'),
        (rb"C:\x\y.txt", r"C:\x\y.txt"),
        (b"a; filename=b.txt", "a; filename=b.txt"),
    ],
)
def test_a_file_name_is_read_as_it_was_meant(
    caller: Caller, simulator: SimulatorControl, written: bytes, read: str
) -> None:
    assert caller.upload_form(form(part(b'form-data; name="media"; filename="' + written + b'"'))) == 0
    assert simulator.uploads()[0].filename == read


def test_uploads_need_post_and_a_token(caller: Caller) -> None:
    assert caller.upload("file", b"content", token="nonsense")["errcode"] == 40014
    url = f"{caller.base_url}/cgi-bin/media/upload?access_token={caller.own_token}&type=file"
    assert caller.session.get(url, timeout=10).json()["errcode"] == 40058


def test_a_chunked_body_is_411_and_one_over_32_megabytes_413(simulator: SimulatorControl) -> None:
    address = urlsplit(simulator.base_url)
    for header, status in ((b"Transfer-Encoding: chunked", 411), (b"Content-Length: 33554433", 413)):
        with socket.create_connection((str(address.hostname), address.port), timeout=10) as connection:
            connection.sendall(b"POST /cgi-bin/media/upload HTTP/1.1\r\n" + header + b"\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 %d " % status)


def test_requests_behind_a_large_one_on_the_same_connection_are_answered(
    caller: Caller, simulator: SimulatorControl
) -> None:
    address = urlsplit(simulator.base_url)
    head = f"POST /cgi-bin/media/upload?access_token={caller.own_token}&type=file HTTP/1.1\r\n"
    body = form(part(content=bytes(3 * MEGABYTE)))
    upload = f"{head}Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    last = b"GET /simulator/health HTTP/1.1\r\nConnection: close\r\n\r\n"
    with socket.create_connection((str(address.hostname), address.port), timeout=10) as connection:
        connection.sendall(upload + body + upload + body + last)
        answers = b""
        while received := connection.recv(4096):
            answers += received
    assert (answers.count(b'"media_id"'), answers.count(b"process_id")) == (2, 1)


# --- the life of a media_id


@pytest.mark.parametrize("errcode", [40007, 40145])
def test_a_media_id_lives_three_days(caller: Caller, simulator: SimulatorControl, errcode: int) -> None:
    simulator.change_settings(expired_media_errcode=errcode)
    media_id = caller.upload("file", b"content")["media_id"]
    simulator.advance_clock(3 * DAY - 1)
    assert caller.send_file(media_id) == 0
    simulator.advance_clock(1)
    assert caller.send_file(media_id) == errcode
    assert caller.send_file(caller.upload("file", b"content")["media_id"]) == 0


def test_media_is_shared_by_the_apps_of_a_corp_only(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-simulator", "other-secret", 1000003)
    simulator.add_app("ww-other", "third-secret", 5)
    media_id = caller.upload("file", b"content")["media_id"]
    assert caller.send_file(media_id, caller.token(secret="other-secret"), 1000003) == 0
    assert caller.send_file(media_id, caller.token("ww-other", "third-secret"), 5) == 40007


def test_media_can_be_ended_early(caller: Caller, simulator: SimulatorControl) -> None:
    first, second = (caller.upload("file", b"content")["media_id"] for _ in range(2))
    assert simulator.invalidate_media(40145, media_id=first) == 1
    assert (caller.send_file(first), caller.send_file(second)) == (40145, 0)
    assert simulator.invalidate_media(corpid="ww-other") == 0
    assert simulator.invalidate_media() == 2
    assert (caller.send_file(first), caller.send_file(second)) == (40007, 40007)
    assert [upload.ended_with for upload in simulator.uploads()] == [40007, 40007]
    assert caller.send_file(caller.upload("file", b"content")["media_id"]) == 0


def test_reset_forgets_media(caller: Caller, simulator: SimulatorControl) -> None:
    media_id = caller.upload("file", b"content")["media_id"]
    simulator.reset()
    assert simulator.uploads() == []
    assert caller.send_file(media_id, caller.token()) == 40007


# --- permanent pictures


@pytest.mark.parametrize(
    ("content", "errcode"),
    [
        (b"", 44001),
        (JPG, 40006),
        (JPG + b".", 0),
        (PNG.ljust(2 * MEGABYTE), 0),
        (PNG.ljust(2 * MEGABYTE + 1), 40009),
        (GIF, 40004),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,
)
def test_a_permanent_picture_is_a_small_jpg_or_png(caller: Caller, content: bytes, errcode: int) -> None:
    assert caller.upload_permanent(content, "p")["errcode"] == errcode


def test_a_permanent_picture_gets_a_url(caller: Caller, simulator: SimulatorControl) -> None:
    answer = caller.upload_permanent(PNG)
    assert sorted(answer) == ["errcode", "errmsg", "url"]
    assert answer["url"].startswith("https://")
    (upload,) = simulator.uploads()
    assert (upload.kind, upload.url, upload.media_id) == ("uploadimg", answer["url"], "")


def test_permanent_pictures_are_counted_by_the_day(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.change_settings(uploadimg_per_day=2)
    assert [caller.upload_permanent(picture)["errcode"] for picture in (PNG, GIF, PNG, PNG)] == [0, 40004, 0, 45009]
    simulator.advance_clock(12 * 3600 - 1)
    assert caller.upload_permanent(PNG)["errcode"] == 45009
    simulator.advance_clock(1)
    assert caller.upload_permanent(PNG)["errcode"] == 0


def test_permanent_pictures_are_counted_by_the_month(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.change_settings(uploadimg_per_month=2)
    codes = []
    for _ in range(3):
        codes.append(caller.upload_permanent(PNG)["errcode"])
        simulator.advance_clock(DAY)
    assert codes == [0, 0, 45009]
    simulator.advance_clock(29 * DAY - 1)
    assert caller.upload_permanent(PNG)["errcode"] == 45009
    simulator.advance_clock(1)
    assert caller.upload_permanent(PNG)["errcode"] == 0


def test_the_limits_of_permanent_pictures_are_those_documented(caller: Caller) -> None:
    settings = caller.session.get(f"{caller.base_url}/simulator/settings", timeout=10).json()
    assert (settings["uploadimg_per_day"], settings["uploadimg_per_month"]) == (1000, 3000)


# --- faults


@pytest.mark.parametrize("endpoint", ["upload", "uploadimg"])
def test_uploads_fail_on_demand(caller: Caller, simulator: SimulatorControl, endpoint: str) -> None:
    def call() -> dict[str, Any]:
        return caller.upload("image", PNG) if endpoint == "upload" else caller.upload_permanent(PNG)

    simulator.add_fault("errcode", endpoint=endpoint, errcode=-1, times=1)
    simulator.add_fault("reset_after", endpoint=endpoint, times=1, after=0)
    assert call()["errcode"] == -1
    assert simulator.uploads() == []
    with pytest.raises(requests.ConnectionError):
        call()
    assert len(simulator.uploads()) == 1
    assert call()["errcode"] == 0
    assert simulator.counters().calls[endpoint] == 3


def test_a_fault_can_be_for_one_kind_of_media(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.add_fault("errcode", endpoint="upload", match={"type": "image"})
    assert caller.upload("image", PNG)["errcode"] == -1
    assert caller.upload("file", PNG)["errcode"] == 0
