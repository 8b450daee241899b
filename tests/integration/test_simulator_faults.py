"""The simulator fails on demand, survives what clients do to it, and starts and stops as a process should."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import orjson
import pytest

from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

SEND = {"touser": "zhangsan", "msgtype": "text", "agentid": 1000002, "text": {"content": "早上好"}}
IMPATIENT = 0.3
"""Seconds a client waits for an answer that never comes."""


class Line:
    """One keep-alive connection to the simulator, with a token."""

    def __init__(self, base_url: str, timeout: float = 10) -> None:
        address = urlsplit(base_url)
        self.connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=timeout)
        self.token = ""

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        return response.status, response.read()

    def get_token(self) -> int:
        answer = orjson.loads(self.ask("GET", "/cgi-bin/gettoken?corpid=ww-simulator&corpsecret=simulator-secret")[1])
        self.token = answer.get("access_token", "")
        return int(answer["errcode"])

    def send_raw(self, **fields: object) -> tuple[int, bytes]:
        if not self.token:
            assert self.get_token() == 0
        return self.ask("POST", f"/cgi-bin/message/send?access_token={self.token}", orjson.dumps({**SEND, **fields}))

    def send(self, **fields: object) -> int:
        return int(orjson.loads(self.send_raw(**fields)[1])["errcode"])


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[SimulatorControl]:
    with running_simulator() as control:
        yield control


@pytest.fixture
def simulator(shared_simulator: SimulatorControl) -> SimulatorControl:
    shared_simulator.reset()
    return shared_simulator


@pytest.fixture
def line(simulator: SimulatorControl) -> Iterator[Line]:
    line = Line(simulator.base_url)
    yield line
    line.connection.close()


def socket_to(simulator: SimulatorControl) -> socket.socket:
    address = urlsplit(simulator.base_url)
    return socket.create_connection((str(address.hostname), address.port), timeout=10)


# --- each kind of fault


@pytest.mark.parametrize("errcode", [-1, 45009, 60020, 12345678])
def test_any_errcode_can_be_answered_without_sending(line: Line, simulator: SimulatorControl, errcode: int) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=errcode)
    assert line.send() == errcode
    assert simulator.deliveries() == []
    assert simulator.counters().answers["send"] == {errcode: 1}


def test_an_errcode_can_be_answered_although_the_message_was_sent(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("errcode", endpoint="send", processed=True)
    assert line.send() == -1
    assert simulator.served() == {"zhangsan": ["早上好"]}


def test_each_endpoint_has_its_own_faults(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("errcode", endpoint="gettoken")
    simulator.add_fault("errcode", endpoint="recall", errcode=50001)
    assert line.get_token() == -1
    simulator.clear_faults()
    assert line.send() == 0
    simulator.add_fault("errcode", endpoint="recall", errcode=50001)
    assert line.send() == 0
    recall = line.ask("POST", f"/cgi-bin/message/recall?access_token={line.token}", b'{"msgid":"x"}')
    assert orjson.loads(recall[1])["errcode"] == 50001


@pytest.mark.parametrize(("processed", "sent"), [(False, 0), (True, 1)])
def test_an_http_error_is_an_html_page(line: Line, simulator: SimulatorControl, processed: bool, sent: int) -> None:  # noqa: FBT001 - a case
    simulator.add_fault("http", endpoint="send", status=502, times=1, processed=processed)
    status, content = line.send_raw()
    assert (status, content[:6]) == (502, b"<html>")
    assert len(simulator.deliveries()) == sent
    assert line.send() == 0, "the connection goes on"


def test_html_can_come_under_status_200(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("html", endpoint="send")
    status, content = line.send_raw()
    assert (status, content[:6]) == (200, b"<html>")
    assert simulator.deliveries() == []


@pytest.mark.parametrize(("kind", "sent"), [("cut", 1), ("cut_before", 0)])
def test_json_can_be_cut_off(line: Line, simulator: SimulatorControl, kind: str, sent: int) -> None:
    simulator.add_fault(kind, endpoint="send", times=1)
    status, content = line.send_raw()
    assert (status, content[:13]) == (200, b'{"errcode":0,')
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(content)
    assert len(simulator.deliveries()) == sent
    assert line.send() == 0, "the connection goes on"


def test_the_connection_can_end_inside_the_announced_length(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("cut", endpoint="send", whole_length=True)
    with pytest.raises(http.client.IncompleteRead):
        line.send_raw()
    assert len(simulator.deliveries()) == 1


@pytest.mark.parametrize(("kind", "sent"), [("reset_before", 0), ("reset_after", 1)])
def test_the_connection_can_be_reset(line: Line, simulator: SimulatorControl, kind: str, sent: int) -> None:
    simulator.add_fault(kind, endpoint="send", times=1)
    with pytest.raises(ConnectionResetError) as raised:
        line.send_raw()
    assert raised.type is ConnectionResetError, "RST, not the FIN that http.client calls RemoteDisconnected"
    assert len(simulator.deliveries()) == sent
    line.connection.close()
    assert line.send() == 0


@pytest.mark.parametrize(("kind", "sent"), [("hang_before", 0), ("hang_after", 1)])
def test_a_call_can_hang_past_the_timeout(line: Line, simulator: SimulatorControl, kind: str, sent: int) -> None:
    line.get_token()
    simulator.add_fault(kind, endpoint="send", times=1)
    line.connection.sock.settimeout(IMPATIENT)
    with pytest.raises(TimeoutError):
        line.send_raw()
    assert len(simulator.deliveries()) == sent
    line.connection.close()
    assert line.send() == 0


def test_a_token_can_expire_under_a_call(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("token_expired", endpoint="send", times=1)
    assert line.send() == 42001
    assert line.send() == 42001, "the token stays dead"
    dead = line.token
    line.get_token()
    assert line.token != dead
    assert line.send() == 0


def test_latency_delays_the_answer_of_a_call_already_carried_out(line: Line, simulator: SimulatorControl) -> None:
    line.get_token()
    simulator.add_fault("latency", endpoint="send", seconds=IMPATIENT)
    simulator.add_fault("errcode", endpoint="send", after=1)
    began = time.monotonic()
    assert line.send() == 0
    assert time.monotonic() - began >= IMPATIENT
    assert line.send() == -1, "latency and another fault go together"
    assert time.monotonic() - began >= 2 * IMPATIENT


def test_base_latency_holds_for_every_call_at_once(simulator: SimulatorControl) -> None:
    simulator.change_settings(latency=IMPATIENT)
    lines = [Line(simulator.base_url) for _ in range(20)]
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda line: line.send(), lines)) == {0}
    elapsed = time.monotonic() - began
    for line in lines:
        line.connection.close()
    assert 2 * IMPATIENT <= elapsed < 20 * IMPATIENT
    assert len(simulator.deliveries()) == 20


def test_too_many_calls_at_once_are_45033(line: Line, simulator: SimulatorControl) -> None:
    line.get_token()
    simulator.change_settings(concurrency=1)
    simulator.add_fault("hang_after", endpoint="send", times=1)
    hanging = Line(simulator.base_url, timeout=IMPATIENT)
    hanging.token = line.token
    with pytest.raises(TimeoutError):
        hanging.send_raw()
    assert line.send() == 45033
    hanging.connection.close()
    deadline = time.monotonic() + 10
    while line.send() == 45033:
        assert time.monotonic() < deadline, "a lost connection is no call under way"


# --- which call is spoilt


def test_a_fault_can_be_for_the_nth_call(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("errcode", endpoint="send", after=2, times=1)
    assert [line.send() for _ in range(5)] == [0, 0, -1, 0, 0]
    (fault,) = simulator.faults()
    assert (fault["seen"], fault["fired"]) == (5, 1)
    assert simulator.counters().faults == {"errcode": 1}


def test_faults_by_probability_repeat_with_their_seed(line: Line, simulator: SimulatorControl) -> None:
    runs = []
    for seed in (1, 1, 2):
        simulator.clear_faults(seed=seed)
        simulator.add_fault("errcode", endpoint="send", probability=0.5)
        runs.append([line.send() for _ in range(40)])
    assert runs[0] == runs[1] != runs[2]
    assert 5 < runs[0].count(-1) < 35


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        ({"user": "Lisi"}, True),
        ({"user": "lis"}, False),
        ({"content": "上好"}, True),
        ({"content": "晚"}, False),
        ({"agentid": 1000002}, True),
        ({"agentid": 1000002, "user": "wangwu"}, False),
    ],
)
def test_a_fault_can_be_for_certain_messages(
    line: Line,
    simulator: SimulatorControl,
    match: dict[str, str | int],
    hit: bool,  # noqa: FBT001 - a case
) -> None:
    simulator.add_fault("errcode", endpoint="send", match=match)
    assert line.send(touser="zhangsan|lisi") == (-1 if hit else 0)


def test_a_fault_of_gettoken_can_be_for_one_corp(line: Line, simulator: SimulatorControl) -> None:
    simulator.add_fault("errcode", endpoint="gettoken", match={"corpid": "ww-other"})
    assert line.get_token() == 0


# --- what clients do to it


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/9\r\n\r\n", 400),
        (b"POST /cgi-bin/message/send HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /" + b"x" * 70_000, 431),
        (b"\x00\xff\x16\x03\x01\r\n\r\n", 400),
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"GET /simulator/nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET /simulator/deliveries?since=x HTTP/1.1\r\n\r\n", 400),
        (b"POST /simulator/faults HTTP/1.1\r\nContent-Length: 1\r\n\r\n{", 400),
    ],
)
def test_what_is_no_request_gets_an_http_status(simulator: SimulatorControl, garbage: bytes, status: int) -> None:
    with socket_to(simulator) as connection:
        connection.sendall(garbage)
        assert connection.recv(4096).startswith(b"HTTP/1.1 %d " % status)
    assert simulator.now() > 0


def test_a_request_may_come_byte_by_byte_and_many_at_once(line: Line, simulator: SimulatorControl) -> None:
    line.get_token()
    body = orjson.dumps(SEND)
    request = b"POST /cgi-bin/message/send?access_token=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
        line.token.encode(),
        len(body),
        body,
    )
    with socket_to(simulator) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        assert b'"errcode":0' in connection.recv(4096)
        connection.sendall(request * 3 + request.replace(b"Host: x", b"Connection: close"))
        answers = b""
        while part := connection.recv(4096):
            answers += part
    assert answers.count(b'"errcode":0') == 4
    assert len(simulator.deliveries()) == 5


def test_pipelined_answers_stay_in_order_under_latency(line: Line, simulator: SimulatorControl) -> None:
    line.get_token()
    simulator.add_fault("latency", times=1, seconds=IMPATIENT)
    target = b"POST /cgi-bin/message/send?access_token=%s HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    last = b"GET /simulator/health HTTP/1.1\r\nConnection: close\r\n\r\n"
    with socket_to(simulator) as connection:
        connection.sendall(target % b"unknown" + target % line.token.encode() + last)
        answers = b""
        while part := connection.recv(4096):
            answers += part
    assert answers.index(b"e=40014") < answers.index(b"e=40058") < answers.index(b"process_id")


def test_hundreds_of_connections_are_served_together(simulator: SimulatorControl) -> None:
    lines = [Line(simulator.base_url) for _ in range(300)]
    for line in lines:
        line.connection.connect()
    assert {line.send(touser=f"member{number}") for number, line in enumerate(lines)} == {0}
    for line in lines:
        line.connection.close()
    assert len(simulator.served()) == 300


# --- the process


def test_the_simulator_listens_on_loopback_only() -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "worker.simulator", "--host", "0.0.0.0"], capture_output=True, check=False, timeout=30
    )
    assert refused.returncode == 1
    assert b"loopback only" in refused.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_after_it_said_what_it_accepts(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "worker.simulator", "--app", "ww-extra:extra-secret:7:500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = b"".join(process.stdout.readline() for _ in range(5))
        assert b"http://127.0.0.1:" in said
        assert b"ww-simulator  secret simulator-secret  agentid 1000002" in said
        assert b"ww-extra  secret extra-secret  agentid 7" in said
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr.read() == b""


def test_it_ends_when_its_parent_is_gone() -> None:
    command = [sys.executable, "-m", "worker.simulator", "--announce-json", "--until-stdin-closes"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith(b'{"base_url":"http://127.0.0.1:')
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_hanging_call_does_not_keep_it_alive() -> None:
    with running_simulator(latency=60.0) as control:
        line = Line(control.base_url, timeout=IMPATIENT)
        with pytest.raises(TimeoutError):
            line.get_token()
        began = time.monotonic()
    line.connection.close()
    assert time.monotonic() - began < 5
