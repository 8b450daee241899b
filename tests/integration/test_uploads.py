"""Uploads that fail, are limited or are made again, and what the messages that wait for them go through meanwhile."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving import serve_all
from sqlalchemy import text

from worker import File, Image, MediaFile, MpNews, Producer, State, Text
from worker.delivery.dispatch import dispatch
from worker.delivery.office import Office, open_office
from worker.ledger import Ledger
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 10


def picture(producer: Producer, *users: str) -> object:
    return producer.send("hr", Image(data=PNG, filename="a.png"), users=list(users))


def let_it_be_due(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set send_at = wecom.clock() where state = 'scheduled'"))


@pytest.fixture
def message_of_unknown_fate(office: Office, producer: Producer, simulator: SimulatorControl) -> object:
    """A picture that arrived, and the answer was lost."""
    simulator.add_fault("reset_after", endpoint="send", times=1)
    message = picture(producer, "zhangsan")
    serve_all(office)
    status = producer.status(message)
    assert (status.state, len(status.attempts)) == (State.SCHEDULED, 1)
    return message


def test_a_limit_that_an_upload_meets_holds_up_uploads_alone_for_a_minute_and_then_twice_as_long(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=45009, times=2)
    begun = datetime.now(UTC)
    message = picture(producer, "zhangsan")
    serve_all(office)
    text_message = producer.send("hr", Text(content="goes on"), users=["lisi"])
    serve_all(office)

    assert producer.status(text_message).state is State.SENT
    assert ledger.senders.find("hr").paused_reason is None
    assert str(producer.status(message).error).startswith("waits for its file: 45009")
    assert simulator.counters().calls["upload"] == 1

    set_clock(begun + timedelta(seconds=70))
    serve_all(office)
    another_file = producer.send("hr", File(data=b"another file", filename="b.txt"), users=["lisi"])
    set_clock(begun + timedelta(seconds=140))
    serve_all(office)
    assert simulator.counters().calls["upload"] == 2

    set_clock(begun + timedelta(seconds=210))
    serve_all(office)
    assert {producer.status(one).state for one in (message, another_file)} == {State.SENT}


@pytest.mark.parametrize("errcode", [60020, 48002, 301002])
def test_a_fault_of_the_configuration_that_an_upload_meets_does_not_stop_the_senders_texts(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl, errcode: int
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=errcode)
    message = picture(producer, "zhangsan")
    serve_all(office)
    text_message = producer.send("hr", Text(content="goes on"), users=["lisi"])
    serve_all(office)

    assert producer.status(text_message).state is State.SENT
    assert ledger.senders.find("hr").paused_reason is None
    status = producer.status(message)
    assert (status.state, status.attempts) == (State.SCHEDULED, ())
    assert str(status.error).startswith(f"waits for its file: {errcode}")
    assert simulator.counters().calls["upload"] == 1  # the next try waits


def test_nobody_rings_for_a_message_whose_upload_is_under_way_or_pauses(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl, bells: list[tuple[str, int]]
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=48002)
    picture(producer, "zhangsan")
    serve_all(office)
    bells.clear()
    assert dispatch(office) == 0
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.uploads set try_at = wecom.clock()"))
    assert dispatch(office) == 1
    assert ledger.uploads.claim("hr", 60) is not None
    assert dispatch(office) == 0


def test_of_several_workers_one_uploads_and_one_that_is_late_changes_nothing(
    ledger: Ledger, producer: Producer
) -> None:
    picture(producer, "zhangsan")
    assert ledger.deliveries.claim("hr", 10, 60, None) == []
    late = ledger.uploads.claim("hr", 0.0)
    assert late is not None
    current = ledger.uploads.claim("hr", 60)
    assert current is not None
    assert ledger.uploads.claim("hr", 60) is None

    assert not ledger.uploads.keep(late, "late", 1000, 60)
    assert not ledger.uploads.renew(late, 60)
    ledger.uploads.try_again(late, 600, "late")
    ledger.uploads.give_back(late)
    assert ledger.uploads.keep(current, "current", 100_000, 60)
    while not ledger.uploads.wake(current, 60).finished:
        pass
    assert [message.media_ids for message in ledger.deliveries.claim("hr", 10, 60, None)] == [("current",)]


def test_a_message_that_begins_to_wait_when_its_file_has_just_come_is_not_forgotten(
    office: Office, ledger: Ledger, producer: Producer
) -> None:
    message = picture(producer, "zhangsan")
    assert ledger.deliveries.claim("hr", 10, 60, None) == []
    upload = ledger.uploads.claim("hr", 0.0)
    assert upload is not None
    assert ledger.uploads.keep(upload, "uploaded by a worker that died before it woke anybody", 3 * 24 * 3600, 0.0)
    with ledger.engine.begin() as connection:
        connection.execute(text("delete from wecom.media"))

    serve_all(office)
    assert producer.status(message).state is State.SENT


def test_what_a_worker_uploaded_before_it_died_is_not_uploaded_again(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    picture(producer, "first")
    serve_all(office)
    with ledger.engine.begin() as connection:
        media = connection.execute(text("delete from wecom.media returning *")).mappings().one()
    message = picture(producer, "zhangsan")
    assert ledger.deliveries.claim("hr", 10, 60, None) == []
    upload = ledger.uploads.claim("hr", 0.0)
    assert upload is not None
    assert ledger.uploads.keep(upload, media["media_id"], 3 * 24 * 3600, 0.0)  # and here it dies

    serve_all(office)
    assert producer.status(message).state is State.SENT
    assert simulator.counters().calls["upload"] == 1


def test_an_answer_without_a_media_id_is_asked_for_again(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=0, times=1)
    message = picture(producer, "zhangsan")
    serve_all(office)
    assert "names no media_id" in str(producer.status(message).error)
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.uploads set try_at = wecom.clock()"))
    serve_all(office)
    assert producer.status(message).state is State.SENT


def test_a_message_that_failed_with_its_file_is_retried_with_another_upload(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=40009, times=1)
    message = picture(producer, "zhangsan")
    serve_all(office)
    assert producer.status(message).state is State.FAILED
    assert [attempt.errcode for attempt in producer.status(message).attempts] == [40009]

    producer.retry(message)
    serve_all(office)
    assert producer.status(message).state is State.SENT


def test_a_campaign_of_three_hundred_messages_with_a_file_uploads_it_once(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    article = {
        "title": "For {{ name }}",
        "thumb_media_id": MediaFile(path="cover.png"),
        "content": "<p>Dear {{ name }}</p>",
    }
    Path("cover.png").write_bytes(PNG)
    producer.campaign(
        "news",
        sender="hr",
        message=MpNews(articles=[article]),
        recipients=[{"userid": f"u{n}", "name": f"name {n}"} for n in range(300)],
    )
    serve_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 300}
    assert len(simulator.uploads()) == 1
    assert len(simulator.served()) == 300


def test_a_campaign_of_which_the_file_is_refused_is_paused_like_any_that_fails(
    office: Office, producer: Producer, ledger: Ledger, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=40009)
    Path("cover.png").write_bytes(PNG)
    producer.campaign(
        "news",
        sender="hr",
        message=MpNews(
            articles=[{"title": "{{ name }}", "thumb_media_id": MediaFile(path="cover.png"), "content": "c"}]
        ),
        recipients=[{"userid": f"u{n}", "name": f"name {n}"} for n in range(300)],
    )
    serve_all(office)
    assert ledger.history.counts("hr") == {State.FAILED: 300}
    assert "failed" in str(producer.campaign_status("news").paused_reason)


def test_a_text_behind_twenty_thousand_messages_that_wait_for_a_file_is_reached_by_a_few_claims(
    ledger: Ledger, producer: Producer
) -> None:
    picture(producer, "first")
    with ledger.engine.begin() as connection:
        connection.execute(
            text("""
                insert into wecom.messages
                    (id, sender, state, priority, requested_at, send_at, touser, toparty, totag, body, files)
                select gen_random_uuid(), sender, state, priority, requested_at, send_at, touser, toparty, totag, body,
                       files
                from wecom.messages, generate_series(1, 20000)
            """)
        )
    message = producer.send("hr", Text(content="behind them"), users=["lisi"])
    claims = [ledger.deliveries.claim("hr", 200, 60, None) for _ in range(5)]
    assert [claimed.id for claim in claims for claimed in claim] == [message]
    assert ledger.deliveries.claim("hr", 200, 60, None) == []


def test_a_repetition_has_the_bytes_of_the_first_try_although_its_media_id_nears_its_end(
    chosen: Settings,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    message_of_unknown_fate: object,
) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.media set expires_at = wecom.clock() + interval '10 seconds'"))
    let_it_be_due(ledger)
    another_process = open_office(chosen, lambda *_: None)
    serve_all(another_process)
    another_process.close()

    assert producer.status(message_of_unknown_fate).state is State.SENT
    first, second = simulator.deliveries()
    assert (second.body_sha256, second.duplicate_of) == (first.body_sha256, first.number)
    assert len(simulator.served()["zhangsan"]) == 1
    assert len(simulator.uploads()) == 1


@pytest.mark.parametrize("errcode", [40007, 40145])
def test_a_repetition_whose_file_wecom_has_forgotten_is_unconfirmed_and_not_sent_with_another(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    message_of_unknown_fate: object,
    errcode: int,
) -> None:
    simulator.invalidate_media(errcode)
    let_it_be_due(ledger)
    serve_all(office)

    status = producer.status(message_of_unknown_fate)
    assert (status.state, status.errcode) == (State.UNCONFIRMED, errcode)
    assert len(simulator.served()["zhangsan"]) == 1
    assert len(simulator.uploads()) == 1


def test_a_file_that_wecom_forgets_again_and_again_fails_its_message_in_the_end(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=40007)
    message = picture(producer, "zhangsan")
    for _ in range(10):
        serve_all(office)
        let_it_be_due(ledger)

    status = producer.status(message)
    assert (status.state, status.errcode) == (State.FAILED, 40007)
    assert len(simulator.uploads()) == 4


def test_a_media_id_of_the_programs_own_that_wecom_does_not_know_fails_its_message_at_once(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=40007)
    message = producer.send("hr", Image(media_id="my-own"), users=["zhangsan"])
    serve_all(office)
    assert producer.status(message).state is State.FAILED


def test_what_a_worker_of_an_earlier_release_may_have_sent_is_left_to_a_person(
    office: Office, ledger: Ledger, producer: Producer, message_of_unknown_fate: object
) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set media_ids = null"))
    let_it_be_due(ledger)
    serve_all(office)
    status = producer.status(message_of_unknown_fate)
    assert status.state is State.UNCONFIRMED
    assert "earlier release" in str(status.error)


def test_uploads_that_nobody_wants_any_more_are_dropped(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    simulator.add_fault("errcode", endpoint="upload", errcode=48002)
    message = picture(producer, "zhangsan")
    serve_all(office)
    producer.recall(message)
    set_clock(datetime.now(UTC) + timedelta(minutes=31))
    serve_all(office)
    ledger.uploads.drop_what_nobody_wants()
    with ledger.engine.connect() as connection:
        assert connection.execute(text("select count(*) from wecom.uploads")).scalar_one() == 0
        assert connection.execute(text("select count(*) from wecom.upload_waits")).scalar_one() == 0
