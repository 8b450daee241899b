"""Files that messages show: uploaded once, used while they live, uploaded again when they do not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from serving import serve_all
from sqlalchemy import text

from worker import File, Image, InvalidMessage, Producer, SendRequest, State
from worker.delivery.office import Office
from worker.delivery.reap import reap
from worker.ledger import Ledger
from worker.simulator.control import SimulatorControl

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 10


def test_a_picture_is_uploaded_once_for_a_whole_fan_out(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl, tmp_path: Path
) -> None:
    path = tmp_path / "菜单.png"
    path.write_bytes(PNG)
    producer.send_many(SendRequest("hr", Image(path=path), users=[f"u{n}"]) for n in range(300))
    serve_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 300}
    uploads = simulator.uploads()
    assert [(upload.filename, upload.kind) for upload in uploads] == [("菜单.png", "image")]
    assert len(simulator.served()) == 300


def test_a_later_message_uses_the_same_upload(office: Office, producer: Producer, simulator: SimulatorControl) -> None:
    for user in ("a", "b"):
        producer.send("hr", Image(data=PNG, filename="a.png"), users=[user])
        serve_all(office)
    assert len(simulator.uploads()) == 1


def test_the_same_bytes_under_another_name_are_another_file(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    for name in ("march.pdf", "april.pdf"):
        producer.send("hr", File(data=b"the same content", filename=name), users=["a"])
    serve_all(office)
    assert sorted(upload.filename for upload in simulator.uploads()) == ["april.pdf", "march.pdf"]


@pytest.mark.parametrize("errcode", [40007, 40145])
def test_a_file_wecom_does_not_know_any_more_is_uploaded_once_more_amid_a_fan_out(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    errcode: int,
    eventually: Callable[..., None],
) -> None:
    producer.send("hr", Image(data=PNG, filename="a.png"), users=["first"])
    serve_all(office)
    simulator.invalidate_media(errcode)
    producer.send_many(SendRequest("hr", Image(data=PNG, filename="a.png"), users=[f"u{n}"]) for n in range(300))

    def all_are_sent() -> bool:
        serve_all(office)  # those that were refused are due again after about a second
        return ledger.history.counts("hr") == {State.SENT: 301}

    eventually(all_are_sent)
    assert len(simulator.uploads()) == 2


def test_a_file_past_its_three_days_is_uploaded_again(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    producer.send("hr", Image(data=PNG, filename="a.png"), users=["a"])
    serve_all(office)
    set_clock(datetime.now(UTC) + timedelta(days=3, minutes=1))
    producer.send("hr", Image(data=PNG, filename="a.png"), users=["b"])
    serve_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 2}
    assert len(simulator.uploads()) == 2


def test_a_file_of_twenty_megabytes_is_sent_and_one_byte_more_is_refused(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    largest = b"x" * (20 * 1024 * 1024)
    producer.send("hr", File(data=largest, filename="large.bin"), users=["a"])
    serve_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 1}
    assert simulator.uploads()[0].size == len(largest)
    with pytest.raises(InvalidMessage, match="at most"):
        producer.send("hr", File(data=largest + b"x", filename="larger.bin"), users=["a"])


@pytest.mark.parametrize("fault", ["reset_after", "hang_before", "cut", "http"])
def test_an_upload_that_fails_leaves_no_doubt_about_the_message(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl, fault: str
) -> None:
    simulator.add_fault(fault, endpoint="upload", times=1)
    message_id = producer.send("hr", Image(data=PNG, filename="a.png"), users=["a"])
    serve_all(office)
    status = producer.status(message_id)
    assert (status.state, status.attempts) == (State.SCHEDULED, ())
    assert str(status.error).startswith("waits for its file: ")
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.uploads set try_at = wecom.clock()"))
    serve_all(office)
    assert producer.status(message_id).state is State.SENT


def test_a_file_wecom_refuses_fails_its_message_with_the_reason(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=40009, times=1)
    message_id = producer.send("hr", Image(data=PNG, filename="a.png"), users=["a"])
    serve_all(office)
    status = producer.status(message_id)
    assert (status.state, status.errcode) == (State.FAILED, 40009)
    assert "uploading its file" in str(status.error)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (Image(path="/nowhere/a.png"), "cannot be read"),
        (Image(data=b"GIF89a not a picture WeCom takes", filename="a.gif"), "image"),
        (File(data=b"tiny", filename="a.txt"), "bytes"),
        (Image(url="https://example.com/a.png"), "not in WECOM_MEDIA_HOSTS"),
    ],
)
def test_a_file_that_cannot_be_sent_is_refused_at_once(
    producer: Producer, ledger: Ledger, message: Image, complaint: str
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        producer.send("hr", message, users=["a"])
    assert complaint in str(caught.value)
    assert ledger.history.counts("hr") == {}


def test_files_are_kept_until_no_message_can_need_them(
    office: Office, ledger: Ledger, producer: Producer, set_clock: Callable[[datetime], None]
) -> None:
    producer.send("hr", Image(data=PNG, filename="a.png"), users=["a"])
    reap(office)
    with ledger.engine.connect() as connection:
        [reference] = connection.execute(text("select files from wecom.messages")).scalar_one()
    assert ledger.media.read(reference) is not None
    set_clock(datetime.now(UTC) + timedelta(days=31))
    reap(office)
    assert ledger.media.read(reference) is None


class TextStream:
    """A stream of text, not of bytes."""

    def read(self) -> str:
        """Read what no file can be made of."""
        return "text"


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ({"data": TextStream()}, "media.data: the stream gives no bytes; open the file in binary mode"),
        ({"path": "/"}, "path: / cannot be read"),
        ({"url": "https://files.example.com:99999/a.png"}, "url: is no address"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(
    producer: Producer, file: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        producer.send("hr", File(**file), users=["a"])
    assert complaint in str(caught.value)


def test_a_closed_stream_is_refused(producer: Producer) -> None:
    stream = BytesIO(PNG)
    stream.close()
    with pytest.raises(InvalidMessage, match=r"media\.data: the stream cannot be read"):
        producer.send("hr", Image(data=stream), users=["a"])


def test_a_file_without_a_name_gets_one_that_says_what_it_is(
    producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    producer.send("hr", Image(data=PNG), users=["a"])
    serve_all(office)
    assert [upload.filename for upload in simulator.uploads()] == ["image.png"]
