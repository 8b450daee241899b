"""Fetches a file by its address, for messages that name one; the address may come from anybody.

So: https only, only from hosts in WECOM_MEDIA_HOSTS, only from public addresses, without redirects, and within bounds
of size and time. The name is resolved once, and the connection goes to the very address that was judged.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.exceptions import HTTPError

from worker.messages import InvalidMessage

MOST_BYTES = 20 * 1024 * 1024
"""The largest file WeCom takes (doc 90253)."""
CONNECT_SECONDS = 5
READ_SECONDS = 10
MOST_SECONDS = 60
PIECE = 64 * 1024


def fetch(url: str, allowed_hosts: Iterable[str]) -> bytes:
    """Return a file's content.

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
    address = public_address(host, port)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return _download(host, address, port, path or "/")


def public_address(host: str, port: int) -> str:
    """Resolve a host to an address that anybody on the internet could reach.

    Raises:
        InvalidMessage: it cannot be resolved, or any of its addresses is private.
    """
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        raise InvalidMessage(f"url: {host} cannot be resolved") from None
    for address in found:
        if not ipaddress.ip_address(address).is_global:
            raise InvalidMessage(f"url: {host} is a private address; files are fetched from public ones only")
    return min(found)


def _download(host: str, address: str, port: int, path: str) -> bytes:
    until = time.monotonic() + MOST_SECONDS
    pool = urllib3.HTTPSConnectionPool(
        address, port, server_hostname=host, assert_hostname=host, ca_certs=certifi.where(), retries=False
    )
    try:
        answer = pool.request(
            "GET",
            path,
            headers={"Host": host if port == 443 else f"{host}:{port}"},
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        )
        if answer.status != 200:
            raise InvalidMessage(f"url: {host} answered HTTP {answer.status}; redirects are not followed")
        content = bytearray()
        for piece in answer.stream(PIECE):
            content += piece
            if len(content) > MOST_BYTES:
                raise InvalidMessage(f"url: the file at {host} has more than {MOST_BYTES} bytes")
            if time.monotonic() > until:
                raise InvalidMessage(f"url: the file at {host} took longer than {MOST_SECONDS} s")
    except HTTPError as error:
        raise InvalidMessage(f"url: the file at {host} cannot be had ({type(error).__name__})") from None
    finally:
        pool.close()
    return bytes(content)
