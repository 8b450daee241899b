"""How calls to WeCom are made: verified, direct, and never redirected."""

import datetime as dt
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from faults.tls import Authority
from raw_server import RawServer, ok

from worker.providers import open_client
from worker.providers.base import Category
from worker.providers.wecom.client import WeComClient
from worker.settings import SettingsError, load_settings

Serve = Callable[..., tuple[str, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer every request the same way and note its path."""
    running: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def serve(
        status: int = 200, content: bytes = b"{}", certificate: Path | None = None, **headers: str
    ) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked.append(self.path)
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}", asked

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def client() -> Iterator[Callable[..., WeComClient]]:
    """Make clients with short time-outs."""
    made: list[WeComClient] = []

    def client(address: str, proxy: str | None = None) -> WeComClient:
        made.append(WeComClient(address, connections=2, connect_timeout=2, read_timeout=2, proxy=proxy))
        return made[-1]

    yield client
    for one in made:
        one.close()


def test_a_server_nobody_vouches_for_is_told_nothing(
    serve: Serve, certificate: Path, client: Callable[..., WeComClient]
) -> None:
    address, asked = serve(certificate=certificate)
    for _ in range(2):
        answer = client(address).post("/cgi-bin/message/send", {"access_token": "secret"}, b"{}").answer
        assert (answer.category, answer.reason) == (
            Category.UNREACHABLE,
            "the server's TLS certificate could not be verified",
        )
    assert asked == []


def test_a_redirect_is_not_followed_with_the_token(serve: Serve, client: Callable[..., WeComClient]) -> None:
    elsewhere, asked = serve()
    address, _ = serve(status=302, Location=f"{elsewhere}/stolen")
    answer = client(address).post("/cgi-bin/message/send", {"access_token": "secret"}, b"{}").answer
    assert (answer.category, answer.http_status) == (Category.UNREACHABLE, 302)
    assert asked == []


def test_proxies_of_the_environment_are_ignored_and_one_that_is_set_is_used(
    serve: Serve, client: Callable[..., WeComClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, through_proxy = serve()
    address, directly = serve()
    monkeypatch.setenv("http_proxy", proxy)
    assert client(address).post("/one", {}, b"{}").answer.category is Category.ACCEPTED
    assert (through_proxy, directly) == ([], ["/one"])
    assert client(address, proxy=proxy).post("/two", {"a": "b"}, b"{}").answer.category is Category.ACCEPTED
    assert through_proxy == [f"{address}/two?a=b"]


@pytest.mark.parametrize("size", [0, 10, 70_000])
def test_bodies_of_every_size_arrive(client: Callable[..., WeComClient], size: int) -> None:
    with RawServer(lambda asked: asked.wire.sendall(ok(b'{"errcode":0,"msgid":"m%d"}' % asked.number))) as server:
        one = client(server.address)
        for number in range(3):
            assert one.post("/x", {}, b"x" * size).answer.msgid == f"m{number}"
    assert [asked.body for asked in server.asked] == [b"x" * size] * 3


@pytest.mark.parametrize(
    ("status", "category"),
    [
        (500, Category.UNCERTAIN),
        (504, Category.UNCERTAIN),
        (408, Category.UNCERTAIN),
        (403, Category.UNREACHABLE),
        (404, Category.UNREACHABLE),
        (429, Category.UNREACHABLE),
    ],
)
def test_what_something_on_the_way_answers_is_judged_by_its_status(
    serve: Serve, client: Callable[..., WeComClient], status: int, category: Category
) -> None:
    address, _ = serve(status=status, content=b"<html>")
    assert client(address).post("/x", {}, b"{}").answer.category is category


def test_a_missing_errcode_is_success(serve: Serve, client: Callable[..., WeComClient]) -> None:
    address, _ = serve(content=b'{"msgid":"m","invaliduser":"a|b","invalidparty":["2"],"invalidtag":""}')
    answer = client(address).post("/x", {}, b"{}").answer
    assert answer.category is Category.ACCEPTED
    assert (answer.invalid.users, answer.invalid.parties, answer.invalid.tags) == (("a", "b"), ("2",), ())


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_told_of_by_name(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=r"WECOM_CA_BUNDLE: .*authorities\.pem holds no certificates"):
        open_client(load_settings(ca_bundle=file))


def test_a_private_authority_is_believed_if_the_settings_name_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with RawServer(lambda asked: asked.wire.sendall(ok()), authority.server("127.0.0.1")) as server:
        named = load_settings(api_base_url=server.address, ca_bundle=authority.certificate)
        for chosen, category in ((named, Category.ACCEPTED), (load_settings(), Category.UNREACHABLE)):
            with closing(open_client(chosen.model_copy(update={"api_base_url": server.address}))) as client:
                assert client.get("/cgi-bin/gettoken", {}).answer.category is category
