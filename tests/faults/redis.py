"""The protocol of Redis (RESP 2 and 3): commands, also many at once, and their answers in order."""

from hashlib import sha1

from faults.conversation import Answered, Matches, Request, Sent

SHOWN = 400
"""Characters of a command's arguments that rules see."""
SUBSCRIPTIONS = frozenset({"SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "MONITOR"})
BULK, ARRAYS, PUSH = b"$=!", b"*~%>|", ord(">")


def command(*names: str) -> Matches:
    """Match commands by their names: `command("GET", "SET")`."""
    wanted = {name.upper() for name in names}
    return lambda request: request.kind in wanted


def script(source: str) -> Matches:
    """Match the calls of one script, by its hash or whole."""
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()
    beginning = source[:SHOWN]

    def matches(request: Request) -> bool:
        if request.kind == "EVALSHA":
            return request.text.startswith(digest)
        return request.kind == "EVAL" and request.text.startswith(beginning)

    return matches


def any_script(request: Request) -> bool:
    """Match the calls of every script."""
    return request.kind in ("EVAL", "EVALSHA")


class RedisConversation:
    """Tells commands apart. Once a connection subscribes, what is published to it counts as no answer."""

    def __init__(self) -> None:
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._exchange = 0
        self._answered = 0
        self._subscribed = False

    def client_sent(self, data: bytes) -> list[Sent]:
        """Return the whole commands."""
        self._from_client += data
        pieces, at = [], 0
        while (end := end_of_reply(self._from_client, at)) is not None:
            whole = bytes(self._from_client[at:end])
            request = _request(whole)
            self._subscribed |= request.kind in SUBSCRIPTIONS
            pieces.append(Sent(whole, self._exchange, request))
            self._exchange += 1
            at = end
        del self._from_client[:at]
        return pieces

    def server_sent(self, data: bytes) -> list[Answered]:
        """Return the whole answers."""
        self._from_server += data
        pieces, at = [], 0
        while (end := end_of_reply(self._from_server, at)) is not None:
            whole = bytes(self._from_server[at:end])
            if whole[0] == PUSH or (self._subscribed and self._answered >= self._exchange):
                pieces.append(Answered(whole, None))
            else:
                pieces.append(Answered(whole, self._answered, last=True))
                self._answered += 1
            at = end
        del self._from_server[:at]
        return pieces


def end_of_reply(received: bytearray, at: int) -> int | None:
    """Return where the value that begins at `at` ends, or None if it is not whole yet."""
    missing = 1
    while missing:
        line_end = received.find(b"\r\n", at)
        if line_end < 0:
            return None
        kind, head = received[at], received[at + 1 : line_end]
        at = line_end + 2
        missing -= 1
        if kind in BULK and int(head) >= 0:
            at += int(head) + 2
            if at > len(received):
                return None
        elif kind in ARRAYS and int(head) > 0:
            missing += int(head) * (2 if kind in b"%|" else 1) + (kind == ord("|"))
    return at


def _request(whole: bytes) -> Request:
    if whole[:1] != b"*":  # a line by hand
        words = whole.split()
    else:
        words, at = [], whole.index(b"\r\n") + 2
        while at < len(whole):
            head_end = whole.index(b"\r\n", at)
            length = int(whole[at + 1 : head_end])
            words.append(whole[head_end + 2 : head_end + 2 + length])
            at = head_end + 2 + length + 2
    name = words[0].decode(errors="replace").upper() if words else ""
    return Request(name, b" ".join(words[1:])[:SHOWN].decode(errors="replace"))
