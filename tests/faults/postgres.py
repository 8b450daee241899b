"""The protocol of Postgres (version 3): statements, simple or extended, and their answers up to ReadyForQuery.

Source: PostgreSQL documentation, "Frontend/Backend Protocol".
"""

import struct

from faults.conversation import Answered, Matches, Request, Sent

SSL_REQUEST, GSSAPI_REQUEST = 80_877_103, 80_877_104
HEAD = 5
"""Bytes of a message's type and length."""


def statement(beginning: str) -> Matches:
    """Match statements that begin with these words, in any case: `statement("commit")`."""
    wanted = beginning.lower()
    return lambda request: request.text.lower().startswith(wanted)


def statement_with(part: str) -> Matches:
    """Match statements that hold these words, in any case."""
    wanted = part.lower()
    return lambda request: wanted in request.text.lower()


class PostgresConversation:
    """Tells statements apart; named prepared ones are remembered by their name. TLS is declined for the server."""

    def __init__(self) -> None:
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._begun = False
        self._exchange = 0
        self._answered = 0
        self._extended: set[int] = set()
        self._statements: dict[bytes, str] = {}
        self._portals: dict[bytes, str] = {}

    def client_sent(self, data: bytes) -> list[Sent]:
        """Return the whole messages of the client."""
        self._from_client += data
        pieces = []
        while (piece := self._message() if self._begun else self._startup()) is not None:
            pieces.append(piece)
        return pieces

    def server_sent(self, data: bytes) -> list[Answered]:
        """Return the whole messages of the server, those of one answer together."""
        self._from_server += data
        pieces, begin, at, received = [], 0, 0, self._from_server
        while len(received) >= at + HEAD:
            kind, length = received[at], int.from_bytes(received[at + 1 : at + HEAD], "big")
            if len(received) < at + 1 + length:
                break
            at += 1 + length
            if kind == ord("G") and self._answered in self._extended:
                self._exchange = self._answered  # during COPY the server ignores the Sync that was sent already
            if kind == ord("Z"):
                pieces.append(Answered(bytes(received[begin:at]), self._answered, last=True))
                self._extended.discard(self._answered)
                self._answered += 1
                begin = at
        if at > begin:
            pieces.append(Answered(bytes(received[begin:at]), self._answered))
        del received[:at]
        return pieces

    def _startup(self) -> Sent | None:
        """The first message has no type; requests for encryption may come before it."""
        received = self._from_client
        if len(received) < 8:
            return None
        length, code = struct.unpack_from(">II", received)
        if len(received) < length:
            return None
        message = self._taken(length)
        if code in (SSL_REQUEST, GSSAPI_REQUEST):
            return Sent(b"", 0, reply=b"N")
        self._begun = True
        self._exchange = 1  # ReadyForQuery after authentication ends exchange 0
        return Sent(message, 0)

    def _message(self) -> Sent | None:
        received = self._from_client
        if len(received) < HEAD:
            return None
        length = 1 + int.from_bytes(received[1:HEAD], "big")
        if len(received) < length:
            return None
        message, exchange, request = self._taken(length), self._exchange, None
        kind, fields = message[:1], message[HEAD:]
        if kind == b"Q":
            request = _request(fields.rstrip(b"\0"))
            self._exchange += 1
        elif kind == b"P":
            name, text, _ = fields.split(b"\0", 2)
            self._statements[name] = text.decode(errors="replace")
        elif kind == b"B":
            portal, name, _ = fields.split(b"\0", 2)
            self._portals[portal] = self._statements.get(name, "")
        elif kind == b"E":
            self._extended.add(exchange)
            request = _request(self._portals.get(fields.split(b"\0", 1)[0], "").encode())
        elif kind == b"S":
            self._exchange += 1
        return Sent(message, exchange, request)

    def _taken(self, length: int) -> bytes:
        message = bytes(self._from_client[:length])
        del self._from_client[:length]
        return message


def _request(statement: bytes) -> Request:
    text = statement.decode(errors="replace").strip()
    return Request(text.split(None, 1)[0].rstrip(";").upper() if text else "", text)
