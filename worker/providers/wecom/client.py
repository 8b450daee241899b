"""Calls to WeCom's HTTP API: pooled connections, time-outs, and an answer whatever happens.

Nothing here raises for what the network or WeCom does: a refused connection, a cut-off or unreadable answer and an
errcode are all `Answer`s. No answer, error or log line holds a query string, for that is where tokens travel.
"""

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, NewConnectionError

from worker.messages.recipients import InvalidRecipients
from worker.providers.base import Answer, Category
from worker.providers.wecom.errcodes import category_of

log = logging.getLogger(__name__)

LONGEST_REASON = 500
LARGEST_ERRCODE = 2**31 - 1
HEADERS = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
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
        # A call that may have arrived must not be repeated behind our back, so urllib3 retries nothing.
        self._adapter = HTTPAdapter(pool_connections=4, pool_maxsize=connections, max_retries=0)

    def get(self, path: str, query: Mapping[str, str]) -> Reply:
        """Call an API that takes everything in the query; `path` begins with `/cgi-bin/`."""
        return self._call(requests.Request("GET", self._url(path, query), headers=HEADERS))

    def post(self, path: str, query: Mapping[str, str], body: bytes) -> Reply:
        """Call an API that takes a JSON body, already serialised."""
        return self._call(requests.Request("POST", self._url(path, query), headers=HEADERS, data=body))

    def upload(self, path: str, query: Mapping[str, str], filename: str, content: bytes) -> Reply:
        """Call an API that takes one file, as the part `media` of a form (doc 90253)."""
        return self._call(requests.Request("POST", self._url(path, query), files={"media": (filename, content)}))

    def close(self) -> None:
        """Close idle connections."""
        self._adapter.close()

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._base_url}{path}?{urlencode(query)}"

    def _call(self, request: requests.Request) -> Reply:
        started = time.monotonic()
        try:
            prepared = request.prepare()
            # The adapter is called directly: a session would read proxies and passwords from the environment and
            # follow redirects, and none of that may happen to a call that carries a secret.
            response = self._adapter.send(prepared, timeout=self._timeouts, verify=True, proxies=self._proxies)
            content = response.content
        except (requests.RequestException, HTTPError, OSError) as error:
            return Reply(_no_answer(error, _milliseconds_since(started)), {})
        return _read(response.status_code, content, _milliseconds_since(started))


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
    reason = redacted(str(payload.get("errmsg", "")))
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
    return "".join(character for character in text if character.isprintable())


def redacted(text: str) -> str:
    """Return a text from outside as one line of bounded length without anything that looks like a secret."""
    return _SECRET.sub(r"\1***", _printable(" ".join(text.split())))[:LONGEST_REASON]
