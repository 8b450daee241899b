"""The servers' addresses as settings write them, and the same through a proxy."""

from urllib.parse import unquote

from faults.proxy import LOOPBACK, FaultProxy, Upstream
from sqlalchemy import make_url

POSTGRES_PORT, REDIS_PORT = 5432, 6379


def database_upstream(url: str) -> Upstream:
    """Return where a Postgres listens whose URL is given; one host, by name or as the directory of its socket."""
    address = make_url(url)
    query = {name: value for name, value in address.query.items() if isinstance(value, str)}
    host, port = address.host or query.get("host", LOOPBACK), address.port or int(query.get("port", POSTGRES_PORT))
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


def proxied_database_url(url: str, proxy: FaultProxy) -> str:
    """Return the URL of the same database through a proxy."""
    address = make_url(url)
    query = {name: value for name, value in address.query.items() if name not in ("host", "port")}
    return address.set(host=LOOPBACK, port=proxy.port, query=query).render_as_string(hide_password=False)


def redis_upstream(url: str) -> Upstream:
    """Return where a Redis listens whose URL is given."""
    if url.startswith("unix://"):
        return unquote(url.removeprefix("unix://").partition("?")[0])
    address = make_url(url)
    return address.host or LOOPBACK, address.port or REDIS_PORT


def proxied_redis_url(url: str, proxy: FaultProxy) -> str:
    """Return the URL of the same Redis through a proxy, for workers and as a broker."""
    if url.startswith("unix://"):
        _, _, query = url.partition("?")
        return f"redis://{LOOPBACK}:{proxy.port}/{query.removeprefix('db=') or '0'}"
    return make_url(url).set(host=LOOPBACK, port=proxy.port).render_as_string(hide_password=False)
