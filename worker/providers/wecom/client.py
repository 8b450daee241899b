"""Calls to WeCom's HTTP API: pooled connections, deadlines, and an answer whatever happens.

Nothing here raises for what the network or WeCom does: a refused connection, a cut-off or unreadable answer and an
errcode are all `Answer`s. No answer, error or log line holds a query string, for that is where tokens travel.
"""

import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import LocationParseError, ProxyError
from urllib3.util import create_urllib3_context

from worker.providers.base import Answer, Category, nothing
from worker.providers.wecom.connection import Connection, SecureConnection
from worker.providers.wecom.departure import CallBroken, Departure
from worker.providers.wecom.http_answer import HttpAnswer
from worker.providers.wecom.multipart import file_form
from worker.providers.wecom.replies import Reply, read_reply, redacted

log = logging.getLogger(__name__)

JSON = "application/json; charset=utf-8"
LEAST_UPLOAD_RATE = 128 * 1024
"""Bytes a second; a slower line does not carry files."""
LONGEST_UPLOAD_SECONDS = 300
SLACK_SECONDS = 1
"""What a call may take beyond its time-outs, on a busy machine."""


class _WithoutSecrets(logging.Filter):
    """Takes secrets out of what urllib3 logs at DEBUG: whole addresses, with their queries."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutSecrets())

_OUR_CONNECTIONS: Mapping[type, type] = {HTTPConnection: Connection, HTTPSConnection: SecureConnection}


class _Adapter(HTTPAdapter):
    """The adapter of `requests`, which knows how to go through a proxy and whom to trust.

    Its pool is used directly: a session would read proxies and passwords from the environment and follow redirects, and
    none of that may happen to a call that carries a secret.
    """

    def __init__(self, connections: int, ca_bundle: str | None) -> None:
        # One context for all connections: to read the authorities' certificates takes ten times as long as a handshake.
        self._context = create_urllib3_context()
        self._context.load_verify_locations(ca_bundle or certifi.where())
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as `requests` has it
        """Make the pools of connections without a proxy."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._context)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401
        """Make the pools of connections through a proxy."""
        return super().proxy_manager_for(proxy, **options, ssl_context=self._context, proxy_ssl_context=self._context)

    def pool(self, base_url: str, proxy: str | None) -> HTTPConnectionPool:
        """Return the connections to one host.

        Raises:
            RequestException, HTTPError, ValueError: the address of the host or of the proxy cannot be used.
        """
        request = requests.Request("GET", base_url).prepare()
        proxies = {"http": proxy, "https": proxy} if proxy else {}
        pool: Any = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        if pool.ConnectionCls not in _OUR_CONNECTIONS:
            raise requests.exceptions.InvalidSchema("only HTTP proxies can be used")
        pool.ConnectionCls = _OUR_CONNECTIONS[pool.ConnectionCls]
        return pool  # type: ignore[no-any-return]


class WeComClient:
    """One process's connections to one WeCom host; safe to use from many threads at once.

    Args:
        base_url: the host, `https://qyapi.weixin.qq.com`.
        connections: how many are kept open.
        connect_timeout: seconds until a connection stands, with the proxy's tunnel and TLS.
        read_timeout: seconds from the first byte of a request to the last of its answer.
        proxy: the URL of an HTTP proxy.
        ca_bundle: a PEM file with the certificates of those who vouch for the host; by default the usual ones.
    """

    def __init__(
        self,
        base_url: str,
        *,
        connections: int,
        connect_timeout: float,
        read_timeout: float,
        proxy: str | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        self._base_url = base_url
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        # Only connecting takes its time-out from here; see `connection.py` for all else.
        self._timeout = Timeout(connect=connect_timeout, read=read_timeout)
        self._proxy = proxy
        self._adapter = _Adapter(connections, ca_bundle)
        self._opened: tuple[HTTPConnectionPool, str] | None = None
        address = urlsplit(base_url)
        self._headers = {
            "Host": address.netloc.rpartition("@")[2],
            "User-Agent": "wecom-worker",
            # An answer is some hundred bytes long: there is nothing to compress.
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            "Content-Type": JSON,
        }

    @property
    def slowest_call(self) -> float:
        """Seconds that a `get` or `post` takes at worst, from when it is called.

        Not in it: what `before_leaving` takes, and the look-up of a name, which Python cannot cut short. A look-up that
        takes longer than the connect time-out ends the call before anything has left.
        """
        return self._connect_timeout + self._read_timeout + SLACK_SECONDS

    def upload_seconds(self, size: int) -> float:
        """Seconds that an `upload` of so many bytes takes at worst; see `slowest_call`."""
        return self._connect_timeout + self._exchange_seconds(size) + SLACK_SECONDS

    def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """Call an API that takes everything in the query; `path` begins with `/cgi-bin/`."""
        return self._call("GET", path, query, self._headers, Departure(None, self._read_timeout))

    def post(
        self, path: str, query: Mapping[str, str], body: bytes, before_leaving: Callable[[], None] = nothing
    ) -> Reply:
        """Call an API that takes a JSON body, already serialised.

        `before_leaving` is called when the connection stands, immediately before the first byte of the request is
        handed to it; what it raises reaches the caller as it is, and nothing was sent.
        """
        departure = Departure((body,), self._read_timeout, before_leaving)
        return self._call("POST", path, query, {**self._headers, "Content-Length": str(len(body))}, departure)

    def upload(
        self,
        path: str,
        query: Mapping[str, str],
        filename: str,
        content: bytes,
        keep_going: Callable[[], bool] | None = None,
    ) -> Reply:
        """Call an API that takes one file, as the part `media` of a form (doc 90253).

        `keep_going` is asked several times a second; once it says False the call ends as unreachable, for a file that
        no message shows does no harm.
        """
        content_type, body = file_form(filename, content)
        departure = Departure(body, self._exchange_seconds(len(content)), keep_going=keep_going)
        headers = {**self._headers, "Content-Type": content_type, "Content-Length": str(departure.size)}
        return self._call("POST", path, query, headers, departure)

    def close(self) -> None:
        """Close idle connections."""
        self._opened = None
        self._adapter.close()

    def _exchange_seconds(self, size: int) -> float:
        return min(self._read_timeout + size / LEAST_UPLOAD_RATE, LONGEST_UPLOAD_SECONDS)

    def _call(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], departure: Departure
    ) -> Reply:
        started = time.monotonic()
        try:
            pool, prefix = self._pool()
            answer: Any = pool.urlopen(
                method,
                f"{prefix}{path}?{urlencode(query)}" if query else f"{prefix}{path}",
                body=departure,  # type: ignore[arg-type]  # handed on as it is, to our own connection
                headers=headers,
                # A call that may have arrived must not be repeated behind our back.
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                timeout=self._timeout,
            )
            return _reply(answer, _milliseconds_since(started))
        except Exception as error:  # noqa: BLE001 - whatever it is, what became of the request is a fact
            if departure.held_back_by is not None:
                raise departure.held_back_by from None
            return Reply(_no_answer(error, departure, _milliseconds_since(started)), {})

    def _pool(self) -> tuple[HTTPConnectionPool, str]:
        """Return the connections, and what a request line says before the path: for a plain proxy the whole address."""
        if self._opened is None:
            pool = self._adapter.pool(self._base_url, self._proxy)
            absolute = pool.proxy is not None and self._base_url.startswith("http://")
            self._opened = pool, self._base_url if absolute else urlsplit(self._base_url).path
        return self._opened


def _reply(answer: HttpAnswer, milliseconds: int) -> Reply:
    reusable = False
    try:
        reply = read_reply(answer.status, answer.content, answer.fault, milliseconds)
        if reply.answer.msgid is not None and answer.repeats(reply.answer.msgid):
            reason = "the answer is the one to an earlier call, come twice"
            reply = Reply(Answer(Category.UNCERTAIN, reason=reason, milliseconds=milliseconds), {})
        # Only an answer with a msgid of its own is recognised if it comes a second time, behind the next call. After
        # any other the next call gets a new connection, or it could take that answer for its own.
        reusable = reply.answer.msgid is not None and reply.answer.category is not Category.UNCERTAIN
    finally:
        answer.give_back(reusable=reusable)
    return reply


def _milliseconds_since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


def _no_answer(error: Exception, departure: Departure, milliseconds: int) -> Answer:
    """Judge a call without an answer by the fact whether it left; the exception only gives the words."""
    if departure.stopped or not departure.left:
        return Answer(Category.UNREACHABLE, reason=_why_it_stayed(error), milliseconds=milliseconds)
    reason = str(error) if isinstance(error, CallBroken) else f"the answer could not be read ({type(error).__name__})"
    return Answer(Category.UNCERTAIN, reason=reason, milliseconds=milliseconds)


def _why_it_stayed(error: Exception) -> str:
    if isinstance(error, CallBroken):
        return str(error)
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "the server's TLS certificate could not be verified"
    if isinstance(error, ProxyError):
        return "the proxy did not connect us to WeCom"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "no TLS connection to WeCom came about"
    if isinstance(error, requests.exceptions.RequestException | LocationParseError | ValueError):
        return "the address of the API or of the proxy cannot be used"
    return "no connection to WeCom"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
