"""An HTTP answer is read whatever its bytes are, and the next one never begins in the middle of it."""

import gzip
import zlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.providers.wecom.departure import CallBroken
from worker.providers.wecom.http_answer import MOST_BODY_BYTES, MOST_HEAD_BYTES, HttpAnswer, read_answer

JSON = b'{"errcode":0}'


def _pieces(data: bytes, sizes: Sequence[int] = ()) -> Callable[[], bytes]:
    """Hand out the bytes as a connection would: some at a time, and none at its end."""
    rest = [data]
    left = list(sizes)

    def receive() -> bytes:
        size = left.pop(0) if left else 16_384
        piece, rest[0] = rest[0][:size], rest[0][size:]
        return piece

    return receive


def _read(data: bytes, *sizes: int) -> HttpAnswer:
    return read_answer(_pieces(data, sizes))


def _whole(*lines: bytes, body: bytes = JSON) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *lines, b"", body])


FRAGMENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/1.1 103 Early Hints\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n",
            b"Content-Length: 13\r\n",
            b"Content-Length: -1\r\n",
            b"Content-Length: 99999999999999999999\r\n",
            b"Content-Length: 0x0d\r\n",
            b"Content-Length: \xc2\xb2\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: gzip, chunked\r\n",
            b"Content-Encoding: gzip\r\n",
            b"Content-Encoding: deflate\r\n",
            b" folded\r\n",
            b"\r\n",
            b"\n\n",
            b"d\r\n" + JSON + b"\r\n0\r\n\r\n",
            b"-5\r\n",
            b"ffffffff\r\n",
            b"0\r\n\r\n",
            JSON,
            gzip.compress(JSON, mtime=0),
        ]
    ),
)


@given(st.lists(FRAGMENTS, max_size=12).map(b"".join), st.lists(st.integers(1, 50), max_size=20))
@example(b"", [])
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000000\r\n\r\n", [])
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", [])
def test_whatever_the_bytes_are_they_are_an_answer_or_none(data: bytes, sizes: list[int]) -> None:
    try:
        answer = _read(data, *sizes)
    except CallBroken:
        return
    assert 200 <= answer.status <= 999
    assert (answer.content is None) == bool(answer.fault)
    assert answer.content is None or len(answer.content) <= MOST_BODY_BYTES
    assert not (answer.reusable and answer.content is None)


@given(
    st.lists(st.tuples(st.binary(max_size=200), st.sampled_from(["length", "chunks"])), min_size=1, max_size=4),
    st.lists(st.integers(1, 50), max_size=50),
)
def test_an_answer_that_can_be_followed_by_another_took_exactly_its_own_bytes(
    answers: list[tuple[bytes, str]], sizes: list[int]
) -> None:
    for content, framing in answers:
        if framing == "length":
            data = _whole(b"Content-Length: %d" % len(content), body=content)
        else:
            chunk = b"%x;ext=1\r\n%s\r\n" % (len(content), content) if content else b""
            data = _whole(b"Transfer-Encoding: chunked", body=chunk + b"0\r\nTrailer: x\r\n\r\n")
        answer = _read(data, *sizes)
        assert (answer.content, answer.reusable) == (content, True)
        assert not _read(data + b"H").reusable


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 13", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 13", b"Connection: close"),
        (b"Content-Length: 13", b"Proxy-Connection: Close"),
        (),
    ],
)
def test_an_answer_whose_end_is_in_doubt_is_the_last_of_its_connection(lines: tuple[bytes, ...]) -> None:
    body = b"d\r\n" + JSON + b"\r\n0\r\n\r\n" if len(lines) == 2 and b"chunked" in lines[1] else JSON
    answer = _read(_whole(*lines, body=body))
    assert (answer.content, answer.reusable) == (JSON, False)


def test_an_answer_of_http_1_0_is_the_last_of_its_connection() -> None:
    assert not _read(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}").reusable


@pytest.mark.parametrize("interim", [100, 102, 103, 199])
def test_an_interim_answer_is_not_the_answer(interim: int) -> None:
    answer = _read(b"HTTP/1.1 %d X\r\nLink: x\r\n\r\n" % interim + _whole(b"Content-Length: 13"))
    assert (answer.status, answer.content, answer.reusable) == (200, JSON, False)


def test_interim_answers_without_end_are_no_answer() -> None:
    with pytest.raises(CallBroken, match="interim"):
        _read(b"HTTP/1.1 103 X\r\n\r\n" * 1000)


def test_a_change_of_the_protocol_is_no_answer() -> None:
    with pytest.raises(CallBroken, match="another protocol"):
        _read(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + _whole(b"Content-Length: 13"))


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_by_its_status_is_read_without_one(status: int) -> None:
    answer = _read(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert (answer.status, answer.content, answer.reusable) == (status, b"", True)


def test_lines_may_end_without_a_carriage_return() -> None:
    assert _read(b"HTTP/1.1 200 OK\ncontent-length:2\n\n{}").content == b"{}"


@pytest.mark.parametrize(
    "lengths", [(b"13", b"14"), (b"13, 13",), (b"",), (b"+13",), (b"1_3",), (b"-1",), (b"1" * 40,), (b"0x13",)]
)
def test_an_answer_that_does_not_say_how_long_it_is_is_not_read(lengths: tuple[bytes, ...]) -> None:
    answer = _read(_whole(*(b"Content-Length: " + length for length in lengths)))
    assert (answer.content, answer.fault) == (None, "the answer does not say how long it is")


@pytest.mark.parametrize("size", [b"-5", b"+5", b"0x5", b" 5", b"", b"5" * 20, b"1_0"])
def test_a_chunk_that_does_not_say_how_long_it_is_is_not_read(size: bytes) -> None:
    assert _read(_whole(b"Transfer-Encoding: chunked", body=size + b"\r\nhello\r\n0\r\n\r\n")).content is None


def _never_ending(begin: bytes, forever: bytes) -> Callable[[], bytes]:
    begun: list[bytes] = []

    def receive() -> bytes:
        assert sum(map(len, begun)) < 4 * MOST_BODY_BYTES, "it reads on and on"
        begun.append(forever if begun else begin)
        return begun[-1]

    return receive


@pytest.mark.parametrize(
    ("begin", "forever"),
    [
        (_whole(b"Content-Length: 99999999"), b"x" * 16_384),
        (_whole(), b"x" * 16_384),
        (_whole(b"Transfer-Encoding: chunked", body=b""), b"4000\r\n" + b"x" * 16_384 + b"\r\n"),
        (_whole(b"Transfer-Encoding: chunked", body=b"0\r\n"), b"Trailer: x\r\n" * 1000),
        (_whole(b"Transfer-Encoding: chunked", body=b""), b"0" * 16_384),
    ],
    ids=["length", "until closed", "chunks", "trailers", "chunk size"],
)
def test_a_body_without_end_is_cut_off(begin: bytes, forever: bytes) -> None:
    answer = read_answer(_never_ending(begin, forever))
    assert (answer.status, answer.content, answer.reusable) == (200, None, False)


@pytest.mark.parametrize("forever", [b"x" * 10_000, b"X: y\r\n" * 1000], ids=["line", "lines"])
def test_a_head_without_end_is_cut_off(forever: bytes) -> None:
    with pytest.raises(CallBroken, match="too long"):
        read_answer(_never_ending(b"HTTP/1.1 200 OK\r\n", forever))
    with pytest.raises(CallBroken, match="too long"):
        _read(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MOST_HEAD_BYTES + b"\r\n\r\n", 10 * MOST_HEAD_BYTES)


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress])
def test_what_something_on_the_way_compressed_is_read(compress: Callable[[bytes], bytes]) -> None:
    encoding = b"gzip" if compress is gzip.compress else b"deflate"
    body = compress(JSON)
    answer = _read(_whole(b"Content-Encoding: " + encoding, b"Content-Length: %d" % len(body), body=body))
    assert (answer.content, answer.reusable) == (JSON, True)


def test_a_little_that_unpacks_to_much_is_cut_off() -> None:
    bomb = gzip.compress(b"\0" * 300_000_000, 9)
    answer = _read(_whole(b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb), body=bomb))
    assert (answer.content, answer.reusable) == (None, False)


@pytest.mark.parametrize(
    ("encoding", "body"), [(b"br", b"x"), (b"gzip", b"x"), (b"gzip", gzip.compress(JSON, mtime=0)[:-9])]
)
def test_what_cannot_be_unpacked_is_not_read(encoding: bytes, body: bytes) -> None:
    answer = _read(_whole(b"Content-Encoding: " + encoding, b"Content-Length: %d" % len(body), body=body))
    assert answer.content is None


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"\r\n\r\n"]
)
def test_what_is_no_http_is_no_answer(data: bytes) -> None:
    with pytest.raises(CallBroken, match="does not speak HTTP"):
        _read(data)
