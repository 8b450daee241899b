"""The protocol of RabbitMQ (AMQP 0-9-1): the methods of the client, and the server's next method on the same channel.

A confirmation of several publishings at once counts for the first of them.
"""

import struct

from faults.conversation import Answered, Matches, Request, Sent

PROTOCOL_HEADER = 8
FRAME_HEAD, FRAME_END = 7, 1
METHOD = 1
BASIC_DELIVER = (60, 60)
METHODS = {
    (10, 11): "connection.start-ok",
    (10, 31): "connection.tune-ok",
    (10, 40): "connection.open",
    (10, 50): "connection.close",
    (20, 10): "channel.open",
    (20, 40): "channel.close",
    (40, 10): "exchange.declare",
    (50, 10): "queue.declare",
    (50, 20): "queue.bind",
    (60, 10): "basic.qos",
    (60, 20): "basic.consume",
    (60, 30): "basic.cancel",
    (60, 40): "basic.publish",
    (60, 70): "basic.get",
    (60, 80): "basic.ack",
    (60, 90): "basic.reject",
    (60, 120): "basic.nack",
    (85, 10): "confirm.select",
}
UNANSWERED = frozenset({"connection.start-ok", "connection.tune-ok", "basic.ack", "basic.reject", "basic.nack"})
"""Start-ok and tune-ok are answered, but by methods that are asked for by what comes after them."""


def method(*names: str) -> Matches:
    """Match methods by name: `method("basic.publish")`; one without a name here is `class.method`, in numbers."""
    return lambda request: request.kind in names


class AmqpConversation:
    """Tells methods apart, each by its channel."""

    def __init__(self) -> None:
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._greeted = False
        self._exchange = 0
        self._awaited: dict[int, list[int]] = {}
        """The exchanges of each channel that have no answer yet."""

    def client_sent(self, data: bytes) -> list[Sent]:
        """Return the whole frames."""
        self._from_client += data
        pieces = []
        if not self._greeted and len(self._from_client) >= PROTOCOL_HEADER:
            pieces.append(Sent(bytes(self._from_client[:PROTOCOL_HEADER]), self._exchange))
            del self._from_client[:PROTOCOL_HEADER]
            self._greeted = True
        if self._greeted:
            pieces += [self._piece(frame) for frame in _frames(self._from_client)]
        return pieces

    def server_sent(self, data: bytes) -> list[Answered]:
        """Return the whole frames."""
        self._from_server += data
        pieces = []
        for frame in _frames(self._from_server):
            kind, channel = struct.unpack_from(">BH", frame)
            awaited = self._awaited.get(channel)
            if kind == METHOD and awaited and _method(frame) != BASIC_DELIVER:
                pieces.append(Answered(frame, awaited.pop(0), last=True))
            else:
                pieces.append(Answered(frame, None))
        return pieces

    def _piece(self, frame: bytes) -> Sent:
        kind, channel = struct.unpack_from(">BH", frame)
        if kind != METHOD:
            return Sent(frame, self._exchange)
        numbers = _method(frame)
        name = METHODS.get(numbers, ".".join(map(str, numbers)))
        self._exchange += 1
        if name not in UNANSWERED:
            self._awaited.setdefault(channel, []).append(self._exchange)
        return Sent(frame, self._exchange, Request(name, f"channel {channel}"))


def _frames(received: bytearray) -> list[bytes]:
    """Take the whole frames out of what was received."""
    frames, at = [], 0
    while len(received) >= at + FRAME_HEAD:
        end = at + FRAME_HEAD + int.from_bytes(received[at + 3 : at + FRAME_HEAD], "big") + FRAME_END
        if len(received) < end:
            break
        frames.append(bytes(received[at:end]))
        at = end
    del received[:at]
    return frames


def _method(frame: bytes) -> tuple[int, int]:
    class_id, method_id = struct.unpack_from(">HH", frame, FRAME_HEAD)
    return class_id, method_id
