"""Calls to WeCom's HTTP API: pooled connections, time-outs, and an answer whatever happens.

Nothing here raises for what the network or WeCom does: a refused connection, a cut-off or unreadable answer and an
errcode are all `Answer`s. No answer, error or log line holds a query string, for that is where tokens travel.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from worker.messages.recipients import InvalidRecipients
from worker.providers.base import Answer, Category, nothing
from worker.providers.wecom.errcodes import category_of

log = logging.getLogger(__name__)

LONGEST_REASON = 500
LARGEST_ERRCODE = 2**31 - 1
LARGEST_HELD = 65_536
"""Bytes of a request body, at most, that are copied to be written together with the head."""
HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
PLAIN_SUCCESS = "ok"
WRONG_JSON = "wrong json format"
"""WeCom adds this to errmsg where it could read only part of a request (doc 90313)."""

_SECRET = re.compile(
    r"""(?ix) ( (?:access_token|corpsecret|suite_ticket|permanent_code|secret) ["']? \s* [=:] \s* ["']? ) [^\s&"',}]+"""
)


class _WithoutSecrets(logging.Filter):
    """Takes secrets out of what urllib3 logs at DEBUG: whole addresses, with their queries."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutSecrets())


class Departure:
    """One request on its way out: its body, and whether a byte of it has left this process."""

    __slots__ = ("_before_leaving", "body", "held_back_by", "left")

    def __init__(self, body: bytes | None, before_leaving: Callable[[], None]) -> None:
        self.body = body
        self.left = False
        self.held_back_by: Exception | None = None
        self._before_leaving = before_leaving

    def leave(self) -> None:
        """Ask whether the request may leave, and note that it does."""
        try:
            self._before_leaving()
        except Exception as error:
            self.held_back_by = error
            raise
        self.left = True


class _AtOnce(HTTPConnection):
    """Hands the head and the body of a small request to the system in one piece.

    The standard library writes one after the other: two system calls, two packets, and two moments at which another
    thread takes over.
    """

    _held: list[bytes] | None = None

    def request(self, method: str, url: str, body: Any = None, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        """Send a request."""
        departure: Departure = body
        if self.sock is None:
            self.connect()
        held: list[bytes] = []
        self._held = held
        try:
            super().request(method, url, departure.body, *arguments, **{**options, "chunked": False})
        finally:
            self._held = None
        departure.leave()
        if sum(map(len, held)) <= LARGEST_HELD:
            self.send(b"".join(held))
            return
        for piece in held:
            self.send(piece)

    def send(self, data: Any) -> None:  # noqa: ANN401 - as the standard library has it
        """Write to the connection, which the first write opens; or hold what is to be written."""
        if self._held is None:
            super().send(data)
        else:
            self._held.append(data)


class _SecureAtOnce(_AtOnce, HTTPSConnection):
    """The same with TLS."""


_AT_ONCE: Mapping[type, type] = {HTTPConnection: _AtOnce, HTTPSConnection: _SecureAtOnce}


class _Adapter(HTTPAdapter):
    """The adapter of `requests`, which works out once for each address what does not change from call to call.

    Otherwise half of a call's CPU time goes into reading the address again and again, and into what only sessions
    need: cookies, redirects, guesses about the encoding of a text.
    """

    def __init__(self, connections: int) -> None:
        # A call that may have arrived must not be repeated behind our back, so urllib3 retries nothing.
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0)
        self._addresses: dict[str, str] = {}
        self._pools: dict[str, Any] = {}

    def prepared(
        self, method: str, address: str, query: Mapping[str, str], departure: Departure
    ) -> requests.PreparedRequest:
        """Prepare a request by hand: of what `requests` looks at, only the address needs it, and that once."""
        if address not in self._addresses:
            self._addresses[address] = requests.Request(method, address).prepare().url or address
        request = requests.PreparedRequest()
        request.method = method
        request.body = departure  # type: ignore[assignment]  # handed through as it is, to our own connection
        request.url = f"{self._addresses[address]}?{urlencode(query)}"
        headers = HEADERS if departure.body is None else {**HEADERS, "Content-Length": str(len(departure.body))}
        request.headers = headers  # type: ignore[assignment]  # urllib3 wants no more than a dictionary
        return request

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,  # noqa: ANN401 - as `requests` has it
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the connections to the host; how they are verified is settled with their first use."""
        assert request.url is not None  # noqa: S101 - it was prepared
        address = request.url.partition("?")[0]
        pool = self._pools.get(address)
        if pool is None:
            pool = cast("Any", super().get_connection_with_tls_context(request, verify, proxies, cert))
            super().cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
            pool.ConnectionCls = _AT_ONCE.get(pool.ConnectionCls, pool.ConnectionCls)
            self._pools[address] = pool
        return pool

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """Do nothing: it is done."""

    def request_url(self, request: requests.PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        """Return what the request line names: the path with its query, or for a proxy the whole address."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(  # type: ignore[override]
        self, _: requests.PreparedRequest, response: BaseHTTPResponse
    ) -> BaseHTTPResponse:
        """Return urllib3's response as it is; its body is not read yet."""
        return response

    def close(self) -> None:
        """Close idle connections."""
        self._pools.clear()
        super().close()


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one call: the answer, and the payload of calls that fetch something."""

    answer: Answer
    payload: Mapping[str, Any]


class WeComClient:
    """One process's connections to one WeCom host; safe to use from many threads at once."""

    def __init__(
        self, base_url: str, *, connections: int, connect_timeout: float, read_timeout: float, proxy: str | None = None
    ) -> None:
        self._base_url = base_url
        self._timeouts = (connect_timeout, read_timeout)
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        self._adapter = _Adapter(connections)

    def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """Call an API that takes everything in the query; `path` begins with `/cgi-bin/`."""
        departure = Departure(None, nothing)
        return self._call(self._adapter.prepared("GET", f"{self._base_url}{path}", query, departure), departure)

    def post(
        self, path: str, query: Mapping[str, str], body: bytes, before_leaving: Callable[[], None] = nothing
    ) -> Reply:
        """Call an API that takes a JSON body, already serialised.

        `before_leaving` is called when the connection stands, immediately before the first byte of the request is
        handed to it; what it raises reaches the caller as it is, and nothing was sent.
        """
        departure = Departure(body, before_leaving)
        return self._call(self._adapter.prepared("POST", f"{self._base_url}{path}", query, departure), departure)

    def upload(self, path: str, query: Mapping[str, str], filename: str, content: bytes) -> Reply:
        """Call an API that takes one file, as the part `media` of a form (doc 90253)."""
        address = f"{self._base_url}{path}?{urlencode(query)}"
        request = requests.Request("POST", address, files={"media": (filename, content)}).prepare()
        departure = Departure(cast("bytes", request.body), nothing)
        request.body = departure  # type: ignore[assignment]
        return self._call(request, departure)

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()

    def _call(self, request: requests.PreparedRequest, departure: Departure) -> Reply:
        started = time.monotonic()
        try:
            # The adapter is called directly: a session would read proxies and passwords from the environment and
            # follow redirects, and none of that may happen to a call that carries a secret.
            response: Any = self._adapter.send(request, timeout=self._timeouts, verify=True, proxies=self._proxies)
            content = response.read(decode_content=True)
        except (requests.RequestException, HTTPError, OSError) as error:
            if departure.held_back_by is not None:
                raise departure.held_back_by from None
            return Reply(_no_answer(error, _milliseconds_since(started)), {})
        return _read(response.status, content, _milliseconds_since(started))


def _milliseconds_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _no_answer(error: Exception, milliseconds: int) -> Answer:
    """Tell a connection that never was from one that broke: only the first proves that nothing was sent."""
    if isinstance(error, requests.exceptions.ProxyError):
        return Answer(Category.UNREACHABLE, reason="the proxy did not connect us to WeCom", milliseconds=milliseconds)
    if isinstance(error, requests.exceptions.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Answer(
            Category.UNREACHABLE, reason="the server's TLS certificate could not be verified", milliseconds=milliseconds
        )
    if isinstance(error, requests.exceptions.ReadTimeout):
        return Answer(Category.UNCERTAIN, reason="no answer before the read time-out", milliseconds=milliseconds)
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return Answer(Category.UNREACHABLE, reason="the address of the API or of the proxy cannot be used")
    if isinstance(error, requests.exceptions.ConnectTimeout) or _never_connected(error):
        return Answer(Category.UNREACHABLE, reason="no connection to WeCom", milliseconds=milliseconds)
    return Answer(Category.UNCERTAIN, reason="the connection broke before the answer", milliseconds=milliseconds)


def _never_connected(error: Exception) -> bool:
    """Whether urllib3 gave up while it opened the connection; `requests` wraps its reason."""
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)


def _read(status: int, content: bytes, milliseconds: int) -> Reply:
    payload = _json_object(content)
    if payload is None or (status != requests.codes.ok and "errcode" not in payload):
        return Reply(_unreadable(status, milliseconds), {})
    errcode = payload.get("errcode") or 0
    errmsg = str(payload.get("errmsg", ""))
    reason = "" if errmsg == PLAIN_SUCCESS else redacted(errmsg)
    if WRONG_JSON in reason:
        log.warning("WeCom could read only part of a request: %s", reason)
    return Reply(
        Answer(
            category=category_of(errcode),
            errcode=errcode,
            reason="" if errcode == 0 else reason,
            msgid=_text(payload.get("msgid")),
            response_code=_text(payload.get("response_code")),
            invalid=InvalidRecipients(
                users=_ids(payload.get("invaliduser")),
                parties=_ids(payload.get("invalidparty")),
                tags=_ids(payload.get("invalidtag")),
                unlicensed=_ids(payload.get("unlicenseduser")),
            ),
            http_status=status,
            milliseconds=milliseconds,
        ),
        payload,
    )


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        payload = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(payload, dict):
        return None
    errcode = payload.get("errcode")
    if errcode is not None and (not isinstance(errcode, int) or abs(errcode) > LARGEST_ERRCODE):
        return None
    return payload


def _unreadable(status: int, milliseconds: int) -> Answer:
    """Judge an answer that is not WeCom's: a 3xx or 4xx comes from something on the way, which passed nothing on."""
    if 300 <= status < 500 and status != requests.codes.request_timeout:
        return Answer(
            Category.UNREACHABLE,
            reason=f"HTTP {status} from something that is not WeCom's API; check WECOM_API_BASE_URL and the proxy",
            http_status=status,
            milliseconds=milliseconds,
        )
    return Answer(
        Category.UNCERTAIN,
        reason=f"HTTP {status} without a readable answer",
        http_status=status,
        milliseconds=milliseconds,
    )


def _ids(value: object) -> tuple[str, ...]:
    """Read a list of recipients, which WeCom writes joined by `|`, as an array, empty, or not at all."""
    if isinstance(value, str):
        value = value.split("|")
    return tuple(text for one in value if (text := _printable(str(one)).strip())) if isinstance(value, list) else ()


def _text(value: object) -> str | None:
    """Read a msgid or response_code; their type is not documented."""
    return _printable(str(value)) or None if isinstance(value, str | int) else None


def _printable(text: str) -> str:
    """Return a text without what the ledger or a terminal could not take."""
    return text if text.isprintable() else "".join(character for character in text if character.isprintable())


def redacted(text: str) -> str:
    """Return a text from outside as one line of bounded length without anything that looks like a secret."""
    return _SECRET.sub(r"\1***", _printable(" ".join(text.split())))[:LONGEST_REASON]
