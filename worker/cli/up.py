"""`wecom up`: servers, workers and beat in one terminal, with a local WeCom if asked for."""

import os
import shlex
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType

import click
import requests

from worker.cli.crew import Crew, Stopped, tell
from worker.cli.numbers import WholeNumber
from worker.cli.up_lock import the_only_one
from worker.delivery.default_sender import DEFAULT, ensure_default_sender
from worker.embedded import EmbeddedServers
from worker.encryption import load_key_ring
from worker.ledger import Ledger, migrate, open_engine
from worker.processes import BEAT, WORKER, wecom_command
from worker.redis_connection import open_redis
from worker.servers import Servers, broker_form
from worker.settings import Settings, load_settings, unknown_settings_in_one_line
from worker.simulator.apps import NEWCOMER
from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

LOOK_SECONDS = 0.2
SIMULATOR_LOOK_SECONDS = 2.0
NAMED_SERVERS = ("WECOM_DATABASE_URL", "WECOM_REDIS_URL", "WECOM_BROKER_URL")


@click.command()
@click.option("--simulator", "with_simulator", is_flag=True, help="Also run a local WeCom, and send everything to it.")
@click.option(
    "--simulator-port",
    type=WholeNumber(0, 65535),
    show_default="any free one",
    help="Where it listens; implies --simulator.",
)
@click.option("--workers", type=WholeNumber(1, 64), default=1, show_default=True, help="How many worker processes.")
def up(*, with_simulator: bool, simulator_port: int | None, workers: int) -> None:
    """Run servers, workers and beat in this terminal, until Ctrl-C.

    Postgres and Redis are those that WECOM_DATABASE_URL and WECOM_REDIS_URL name, or real ones started in WECOM_HOME.
    With --simulator there is a local WeCom too, and a sender `default` that is ready to use.
    """
    with_simulator = with_simulator or simulator_port is not None
    crew = Crew()
    with suppress(KeyboardInterrupt), _stopping_in_order(crew), ExitStack() as exits:
        settings = load_settings()
        if warning := unknown_settings_in_one_line():
            tell(warning)
        embedded = settings.database_url is None or settings.redis_url is None
        # Two that share nothing but named servers do each other no harm.
        lock = exits.enter_context(the_only_one(settings.home)) if embedded or with_simulator else None
        servers = exits.enter_context(_servers(settings))
        control = exits.enter_context(_simulator(simulator_port or 0)) if with_simulator else None
        environment = _pointed_at(control, settings) if control else {}
        senders = _prepare(servers, settings, environment)
        exits.callback(crew.stop)
        for number in range(1, workers + 1):
            crew.start(f"worker-{number}", (*WORKER, "-n", f"worker-{number}-{os.getpid()}@%h"), environment)
        crew.start("beat", BEAT, environment)
        if lock and control:
            lock.note(str(os.getpid()), control.base_url)
        _introduce(settings, servers, control, workers, senders)
        _watch(crew, control)


@contextmanager
def _stopping_in_order(crew: Crew) -> Iterator[None]:
    """Let the first Ctrl-C (or TERM, or a closed terminal) stop everything in order, and a second one kill."""
    asked = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            crew.kill()
            return
        asked = True
        tell("stopping: calls under way finish; Ctrl-C again kills")
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _servers(settings: Settings) -> Iterator[Servers]:
    """Start or join the embedded servers for what is not named, and let go of them at the end."""
    database_url = settings.database_url.get_secret_value() if settings.database_url else None
    redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
    if database_url is not None and redis_url is not None:
        yield Servers(database_url, redis_url, broker_form(redis_url))
        return
    with EmbeddedServers(settings.home.absolute()) as embedded:
        redis_url = redis_url or embedded.redis_url
        try:
            yield Servers(database_url or embedded.database_url, redis_url, broker_form(redis_url))
        finally:
            tell("Postgres and Redis stop now, unless another program uses them")


@contextmanager
def _simulator(port: int) -> Iterator[SimulatorControl]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise click.ClickException(
                f"the local WeCom cannot listen on port {port} ({error.strerror}); name another with --simulator-port"
            ) from None
    try:
        with running_simulator(port=port) as control:
            yield control
    finally:
        tell("the local WeCom has stopped")


def _pointed_at(control: SimulatorControl, settings: Settings) -> dict[str, str]:
    """Return the settings that send everything to the local WeCom, which gets to know the user's own app if any."""
    own = {"WECOM_CORPID": settings.corpid, "WECOM_CORPSECRET": settings.corpsecret, "WECOM_AGENTID": settings.agentid}
    missing = [name for name, value in own.items() if value is None]
    if 0 < len(missing) < len(own):
        raise click.ClickException(f"{' and '.join(missing)} not set: set all of {', '.join(own)}, or none of them")
    app = NEWCOMER
    environment = {"WECOM_API_BASE_URL": control.base_url, "WECOM_PROXY": ""}
    if settings.corpid and settings.corpsecret and settings.agentid is not None:
        control.add_app(settings.corpid, settings.corpsecret.get_secret_value(), settings.agentid)
        return environment
    return environment | {
        "WECOM_CORPID": app.corpid,
        "WECOM_CORPSECRET": app.secret,
        "WECOM_AGENTID": str(app.agentid),
    }


def _prepare(servers: Servers, settings: Settings, environment: Mapping[str, str]) -> Sequence[str]:
    """Bring the ledger up to this release, make the sender `default`, and return the senders' names.

    Raises:
        LedgerError, SecretKeyError, RedisError: the servers cannot be used; the text says why.
    """
    key_ring = load_key_ring(settings)
    with open_redis(servers.redis_url) as redis:
        redis.ping()
    ledger = Ledger(open_engine(servers.database_url), key_ring)
    try:
        migrate(ledger.engine)
        changed = {name.removeprefix("WECOM_").lower(): value for name, value in environment.items()}
        chosen = load_settings(**changed)
        if environment:
            _refuse_real_senders(ledger, chosen)
        ensure_default_sender(ledger, chosen)
        names = ledger.senders.names()
        for name in names[:1]:
            ledger.senders.open(name)  # here a wrong key is one line; a worker would find it at the first message
        return names
    finally:
        ledger.engine.dispose()


def _refuse_real_senders(ledger: Ledger, chosen: Settings) -> None:
    """Keep the local WeCom away from a ledger of real senders: it would take, or pause, what they have to send.

    A sender that is paused has nothing taken, and stays paused; but `default` would get other credentials.
    """
    for sender in ledger.senders.all():
        if sender.paused_reason is not None and sender.paused_until is None and sender.name != DEFAULT:
            continue
        stored, _ = ledger.senders.open(sender.name)
        secret = chosen.corpsecret.get_secret_value() if chosen.corpsecret else None
        same_app = (stored.credentials.get("corpsecret"), stored.agentid) == (secret, chosen.agentid)
        if stored.credentials.get("corpid") != chosen.corpid or (stored.name == DEFAULT and not same_app):
            raise click.ClickException(
                f"the ledger holds the sender {stored.name} with other credentials than the local WeCom's; "
                f"run without --simulator{_or_pause(stored.name)}, or name another directory: "
                "WECOM_HOME=.wecom-simulator wecom up --simulator"
            )


def _or_pause(name: str) -> str:
    return "" if name == DEFAULT else f", pause it (`wecom senders pause {name}`)"


def _introduce(
    settings: Settings, servers: Servers, control: SimulatorControl | None, workers: int, senders: Sequence[str]
) -> None:
    """Say what runs and what to do next."""
    where = "named servers" if settings.database_url and settings.redis_url else f"servers in {settings.home}"
    tell(
        f"running: {where}, {workers} worker{'s' if workers > 1 else ''}, beat" + (", a local WeCom" if control else "")
    )
    wecom, surroundings = wecom_command(), "in this directory"
    if os.environ.get("WECOM_HOME"):
        wecom = f"WECOM_HOME={shlex.quote(os.environ['WECOM_HOME'])} {wecom}"
    if same := [name for name in NAMED_SERVERS if os.environ.get(name)]:
        surroundings += f" and with the same {', '.join(same)}"
    if senders:
        sender = DEFAULT if DEFAULT in senders else senders[0]
        tell(f"send from a second terminal, {surroundings}:")
        tell(f"    {wecom} send {sender} --text 'Hello 你好' --user zhangsan")
        tell(f"    {wecom} status <the id it prints>")
        tell("what is not urgent waits around each minute 0 and 30, up to 7 minutes")
    else:
        tell(f"no sender yet: `{wecom} senders add --help`, or set WECOM_CORPID, WECOM_CORPSECRET, WECOM_AGENTID")
    if settings.redis_url is None and settings.broker_url is None:
        tell(f"the broker, for programs that know only Celery: {servers.broker_url}")
    if control:
        tell(f"what the local WeCom was sent: {control.base_url}/simulator/deliveries")
    tell("Ctrl-C stops everything in order")


def _watch(crew: Crew, control: SimulatorControl | None) -> None:
    """Wait until somebody stops us.

    Raises:
        Stopped: a process has ended by itself.
    """
    looked_at = time.monotonic()
    while True:
        crew.keep_alive()
        if control is not None and time.monotonic() - looked_at > SIMULATOR_LOOK_SECONDS:
            looked_at = time.monotonic()
            try:
                control.now()
            except requests.RequestException:
                raise Stopped("the local WeCom has ended unexpectedly") from None
        time.sleep(LOOK_SECONDS)
