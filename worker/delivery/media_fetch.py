"""Fetches a file by its address, for messages that name one; the address may come from anybody.

So: https only, only from hosts in WECOM_MEDIA_HOSTS, only from public addresses, without redirects, and within bounds
of size and time. The name is resolved once, and the connection goes to the very addresses that were judged.
"""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Any, Self
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from worker.messages import InvalidMessage

MOST_BYTES = 20 * 1024 * 1024
"""The largest file WeCom takes (doc 90253)."""
CONNECT_SECONDS = 5
"""For all addresses of a host together."""
READ_SECONDS = 10
MOST_SECONDS = 60
"""From the first connection to the last byte, however slowly they come."""
PIECE = 64 * 1024
LEADS_ON = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""Addresses that hold another one, to which a gateway leads: NAT64 (RFC 6052, RFC 8215), 6to4 and Teredo."""


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach an address."""
    judged = ipaddress.ip_address(address)
    if isinstance(judged, ipaddress.IPv6Address):
        if judged.ipv4_mapped is not None:
            return is_public(str(judged.ipv4_mapped))
        if any(judged in network for network in LEADS_ON):
            return False
    return judged.is_global and not judged.is_multicast


def fetch(
    url: str,
    allowed_hosts: Iterable[str],
    *,
    may_reach: Callable[[str], bool] = is_public,
    ca_bundle: str | None = None,
    most_seconds: float = MOST_SECONDS,
) -> bytes:
    """Return a file's content.

    Args:
        url: where it is.
        allowed_hosts: from which it may come.
        may_reach: says of an IP address whether it may be connected to.
        ca_bundle: a PEM file with the certificates of those who vouch for hosts; by default the usual ones.
        most_seconds: how long all of it may take.

    Raises:
        InvalidMessage: the address is not allowed, or the file cannot be had within the bounds.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port or 443
    except ValueError as error:
        raise InvalidMessage(f"url: is no address ({error})") from None
    if parts.scheme != "https" or not host or parts.username is not None:
        raise InvalidMessage("url: a file's address begins with https:// and holds no password")
    if host not in {allowed.lower() for allowed in allowed_hosts}:
        raise InvalidMessage(f"url: {host} is not in WECOM_MEDIA_HOSTS; add it there or send the file itself")
    addresses = _addresses(host, port, may_reach)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    with _Deadline(most_seconds) as deadline:
        try:
            return _download(host, addresses, port, path or "/", ca_bundle or certifi.where(), deadline)
        except (HTTPError, OSError) as error:
            if deadline.over:
                raise InvalidMessage(f"url: the file at {host} took longer than {most_seconds:g} s") from None
            raise InvalidMessage(f"url: the file at {host} cannot be had ({type(error).__name__})") from None


def _addresses(host: str, port: int, may_reach: Callable[[str], bool]) -> Sequence[str]:
    """Resolve a host to addresses, in the order in which the system would try them.

    Raises:
        InvalidMessage: it cannot be resolved, or one of its addresses may not be reached.
    """
    try:
        found = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError:
        raise InvalidMessage(f"url: {host} cannot be resolved") from None
    if not all(map(may_reach, found)):
        raise InvalidMessage(f"url: {host} is a private address; files are fetched from public ones only")
    return list(dict.fromkeys(found))


class _Deadline:
    """Cuts every connection that was handed to it when the time is over, whatever waits for it then."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        for connection in self._watched:
            connection.close()

    def watch(self, connection: socket.socket) -> None:
        """Cut a connection at the deadline, also after another object has taken it over."""
        with self._lock:
            self._watched.append(connection.dup())
        if self.over:
            self._cut()

    def _cut(self) -> None:
        with self._lock:
            self.over = True
            for connection in self._watched:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPSConnection):
    """A connection to the first of some addresses that answers."""

    def __init__(self, *arguments: Any, addresses: Sequence[str], deadline: _Deadline, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self._addresses = addresses
        self._deadline = deadline

    def _new_conn(self) -> socket.socket:
        until = time.monotonic() + CONNECT_SECONDS
        for number, address in enumerate(self._addresses):
            share = max(0.1, until - time.monotonic()) / (len(self._addresses) - number)
            with suppress(OSError):
                connected = socket.create_connection((address, self.port or 443), timeout=share)
                connected.settimeout(READ_SECONDS)
                self._deadline.watch(connected)
                return connected
        raise NewConnectionError(self, "no address answers")


def _download(host: str, addresses: Sequence[str], port: int, path: str, ca_bundle: str, deadline: _Deadline) -> bytes:
    pool = urllib3.HTTPSConnectionPool(host, port, ca_certs=ca_bundle, retries=False)
    pool.ConnectionCls = partial(_Connection, addresses=addresses, deadline=deadline)  # type: ignore[assignment]
    with closing(pool):
        answer = pool.request("GET", path, redirect=False, preload_content=False)
        if answer.status != 200:
            raise InvalidMessage(f"url: {host} answered HTTP {answer.status}; redirects are not followed")
        content = bytearray()
        for piece in answer.stream(PIECE):
            content += piece
            if len(content) > MOST_BYTES:
                raise InvalidMessage(f"url: the file at {host} has more than {MOST_BYTES} bytes")
    if deadline.over:
        raise TimeoutError
    return bytes(content)
