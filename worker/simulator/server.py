"""The simulator's HTTP/1.1 connections: keep-alive, pipelining, and every way an answer can go wrong."""

import asyncio
import random
import socket
import struct
from typing import cast

from worker.simulator.answers import Answer, accepted, refused
from worker.simulator.endpoints import PREFIX, control_response
from worker.simulator.faults import Fault
from worker.simulator.rules import token_of
from worker.simulator.state import SimulatorState
from worker.simulator.wire import (
    MOST_BODY_BYTES,
    MalformedError,
    Request,
    answer_bytes,
    expects_continue,
    page_bytes,
    read_request,
    response_bytes,
)

ADDRESSES = {
    "/cgi-bin/gettoken": "gettoken",
    "/cgi-bin/message/send": "send",
    "/cgi-bin/message/recall": "recall",
    "/cgi-bin/message/update_template_card": "update_card",
    "/cgi-bin/media/upload": "upload",
    "/cgi-bin/media/uploadimg": "uploadimg",
}
"""The part of the API that is simulated."""

_LINGER_ZERO = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST instead of FIN."""


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._buffer = b""
        self._collected: list[bytes] = []
        self._missing = 0
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._corp_under_way = ""
        self._answer_due = False
        self._deaf = False
        self._told_to_continue = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections += 1

    def connection_lost(self, _error: Exception | None) -> None:
        """End; an answer still due is dropped."""
        self._deaf = True
        self._leave()
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Collect what came and answer every request that is complete."""
        if self._deaf:
            return
        if len(data) < self._missing:
            self._missing -= len(data)
            self._collected.append(data)  # a large body is put together once
            return
        if self._collected:
            data = b"".join((*self._collected, data))
            self._collected.clear()
        self._missing = 0
        self._buffer = self._buffer + data if self._buffer else data
        if not self._answer_due:
            self._work()
        elif len(self._buffer) > MOST_BODY_BYTES:
            self._transport.pause_reading()

    def _work(self) -> None:
        while self._buffer and not self._answer_due and not self._deaf:
            try:
                request, used = read_request(self._buffer)
            except MalformedError as malformed:
                self._write(page_bytes(malformed.status, keep_alive=False), keep_alive=False)
                return
            if request is None:
                self._missing = used - len(self._buffer)
                if not self._told_to_continue and expects_continue(self._buffer):
                    self._told_to_continue = True
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            self._buffer = self._buffer[used:]
            self._told_to_continue = False
            self._serve(request)

    def _serve(self, request: Request) -> None:
        state = self._state
        endpoint = ADDRESSES.get(request.path)
        if endpoint is None:
            self._serve_elsewhere(request)
            return
        state.calls[endpoint] += 1
        settings = state.wecom.settings
        if state.faults or settings.latency or settings.latency_jitter:
            self._serve_with_faults(endpoint, request)
            return
        answer = state.wecom.answer(endpoint, request)
        state.count_answer(endpoint, answer.errcode)
        self._write(answer_bytes(answer, keep_alive=request.keep_alive), keep_alive=request.keep_alive)

    def _serve_elsewhere(self, request: Request) -> None:
        if request.path.startswith(PREFIX):
            response = control_response(self._state, request)
        else:
            response = page_bytes(404, keep_alive=request.keep_alive)
        self._write(response, keep_alive=request.keep_alive)

    def _serve_with_faults(self, endpoint: str, request: Request) -> None:
        """Carry the call out now or not at all; answer, fail or fall silent now or after the latency."""
        latency, fault = self._state.faults.choose(endpoint, request.query, request.body)
        answer = self._answer_despite(fault, endpoint, request)
        settings = self._state.wecom.settings
        latency += settings.latency + random.random() * settings.latency_jitter  # noqa: S311 - no secret
        if latency <= 0:
            self._end(endpoint, request, fault, answer)
            return
        self._answer_due = True
        self._enter(answer.corpid)
        self._timer = asyncio.get_running_loop().call_later(latency, self._end_late, endpoint, request, fault, answer)

    def _answer_despite(self, fault: Fault | None, endpoint: str, request: Request) -> Answer:
        wecom = self._state.wecom
        answer = accepted("", msgid="0" * 72)
        if fault is None or fault.carries_out:
            answer = wecom.answer(endpoint, request)
        if fault and fault.kind == "errcode":
            return refused(fault.errcode)
        if fault and fault.kind == "token_expired":
            wecom.apps.end_token(token_of(request.query), 42001)
            return refused(42001)
        return answer

    def _end_late(self, endpoint: str, request: Request, fault: Fault | None, answer: Answer) -> None:
        self._timer = None
        self._answer_due = False
        self._leave()
        self._end(endpoint, request, fault, answer)
        self._transport.resume_reading()
        self._work()

    def _end(self, endpoint: str, request: Request, fault: Fault | None, answer: Answer) -> None:
        """Let the call end as its fault wants it."""
        kind = fault.kind if fault else ""
        keep_alive = request.keep_alive
        if fault and kind in ("http", "html"):
            status = fault.status if kind == "http" else 200
            self._write(page_bytes(status, keep_alive=keep_alive), keep_alive=keep_alive)
        elif fault and kind in ("cut", "cut_before"):
            self._cut(answer, keep_alive=keep_alive, whole_length=fault.whole_length)
        elif kind in ("reset_before", "reset_after"):
            self._reset()
        elif kind in ("hang_before", "hang_after"):
            self._enter(answer.corpid)
            self._deaf = True  # what comes is still read, so that the client's closing is noticed
        else:
            self._state.count_answer(endpoint, answer.errcode)
            self._write(answer_bytes(answer, keep_alive=keep_alive), keep_alive=keep_alive)

    def _cut(self, answer: Answer, *, keep_alive: bool, whole_length: bool) -> None:
        half = len(answer.content) // 2
        if whole_length:
            self._write(answer_bytes(answer, keep_alive=True)[: half - len(answer.content)], keep_alive=False)
        else:
            self._write(response_bytes(200, answer.content[:half], keep_alive=keep_alive), keep_alive=keep_alive)

    def _reset(self) -> None:
        self._deaf = True
        connection: socket.socket = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()

    def _write(self, response: bytes, *, keep_alive: bool) -> None:
        self._transport.write(response)
        if not keep_alive:
            self._deaf = True
            self._transport.close()

    def _enter(self, corpid: str) -> None:
        """Count a call of this corp as under way (45033) until it is answered or its connection is lost."""
        if corpid:
            self._corp_under_way = corpid
            under_way = self._state.wecom.limits.under_way
            under_way[corpid] = under_way.get(corpid, 0) + 1

    def _leave(self) -> None:
        if self._corp_under_way:
            self._state.wecom.limits.under_way[self._corp_under_way] -= 1
            self._corp_under_way = ""
