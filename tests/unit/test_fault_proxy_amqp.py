"""What passes between a program and RabbitMQ is told apart, frame by frame, however it is cut into reads."""

import struct

import pytest
from faults.amqp import AmqpConversation, method


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def call(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    return frame(1, channel, struct.pack(">HH", class_id, method_id) + arguments)


PUBLISH = call(1, 60, 40, b"arguments") + frame(2, 1, b"header") + frame(3, 1, b"body\xce")
CONFIRM = call(1, 60, 80, struct.pack(">Q?", 1, False))
DELIVER = call(1, 60, 60, b"consumer") + frame(2, 1, b"header") + frame(3, 1, b"body")
HEARTBEAT = frame(8, 0, b"")


@pytest.mark.parametrize("read", [1, 3, 1000])
def test_a_publishing_is_known_by_its_method_and_answered_by_its_confirmation(read: int) -> None:
    conversation = AmqpConversation()
    stream = b"AMQP\x00\x00\x09\x01" + PUBLISH + call(1, 60, 80) + PUBLISH
    sent = [piece for at in range(0, len(stream), read) for piece in conversation.client_sent(stream[at : at + read])]
    asked = [piece for piece in sent if piece.request]
    assert [piece.request.kind for piece in asked if piece.request] == ["basic.publish", "basic.ack", "basic.publish"]
    assert b"".join(piece.data for piece in sent) == stream
    assert [method("basic.publish")(piece.request) for piece in asked if piece.request] == [True, False, True]

    answers = HEARTBEAT + DELIVER + CONFIRM + CONFIRM
    answered = [
        piece for at in range(0, len(answers), read) for piece in conversation.server_sent(answers[at : at + read])
    ]
    assert [piece.exchange for piece in answered if piece.last] == [asked[0].exchange, asked[2].exchange]
    assert b"".join(piece.data for piece in answered) == answers
