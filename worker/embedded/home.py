"""The directory the embedded servers live in: who owns it, who may enter, where the sockets are."""

import contextlib
import hashlib
import os
import pwd
import shutil
import socket
import stat
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from worker.embedded import unprivileged

# What bind(2) takes for a unix socket's path, without the closing zero.
LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
USERS_LOCK = "users.lock"
NOBODY = 65534
PRIVATE = 0o700


class EmbeddedError(Exception):
    """The embedded servers cannot be used; the sentence says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the servers run as, and how a process gets there (a key of `unprivileged.MODES`)."""

    mode: str
    uid: int
    gid: int


class Home:
    """The embedded servers' own directory, mode 0700.

    Raises EmbeddedError from `prepare` where it cannot be made, belongs to somebody else, or holds other things.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))

    def prepare(self) -> None:
        """Make the directory if it is missing and make sure nobody else can enter it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # A symbolic link as the last part is resolved already; what is here now is the directory itself.
            self.path.mkdir(mode=PRIVATE, exist_ok=True)
            status = self.path.lstat()
        except FileExistsError as error:
            raise EmbeddedError(
                f"{error.filename} is a file, but the embedded servers need a directory there: move it away."
            ) from None
        except OSError as error:
            raise EmbeddedError(
                f"Cannot make the directory {self.path} for the embedded servers ({error.strerror}): run in a "
                "directory you may write to, or name real servers in WECOM_DATABASE_URL and WECOM_REDIS_URL."
            ) from error
        self._check_owner(status)
        if stat.S_IMODE(status.st_mode) & 0o077:
            self._close_to_others()

    def _check_owner(self, status: os.stat_result) -> None:
        if os.geteuid() not in (0, status.st_uid):
            raise EmbeddedError(
                f"{self.path} belongs to {_name_of(status.st_uid)}, and you are {_name_of(os.geteuid())}: "
                "run as its owner, or remove it."
            )
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise EmbeddedError(f"{self.path} is not writable: make it writable (chmod 700, or another mount).")

    def _close_to_others(self) -> None:
        """Take away what group and others may do, unless the directory is somebody's for other things."""
        # The name may be that of a home directory, a project or /tmp: those are not ours to close.
        if next(self.path.iterdir(), None) and not (self.path / USERS_LOCK).exists():
            raise EmbeddedError(
                f"{self.path} holds other things and others may enter it: name a directory only for the servers, "
                "or close this one (chmod 700)."
            )
        with contextlib.suppress(OSError):  # file systems without modes; Postgres has the last word there
            self.path.chmod(PRIVATE)

    @cached_property
    def owner(self) -> tuple[int, int]:
        """The uid and gid that own the directory and everything in it but the servers' data."""
        status = self.path.stat()
        return status.st_uid, status.st_gid

    @cached_property
    def account(self) -> Account:
        """Whom the servers run as: us, or, where we are root, the owner of the directory or `nobody`."""
        uid, gid = os.geteuid(), os.getegid()
        if uid != 0:
            return Account("stay", uid, gid)
        unprivileged_uid, unprivileged_gid = self.owner if self.owner[0] else nobody()
        switches = unprivileged.can_switch(unprivileged_uid, unprivileged_gid)
        return Account("switch" if switches else "namespace", unprivileged_uid, unprivileged_gid)

    @property
    def data_owner(self) -> tuple[int, int]:
        """The uid and gid that own the servers' data, as we see them."""
        if self.account.mode == "namespace":
            return os.geteuid(), os.getegid()
        return self.account.uid, self.account.gid

    def open(self, name: str, flags: int = os.O_RDWR) -> int:
        """Open a private file of the directory, made if missing; returns a descriptor children do not inherit."""
        path = self.path / name
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            if os.fstat(descriptor).st_uid != self.owner[0]:
                os.fchown(descriptor, *self.owner)
        except OSError as error:
            raise EmbeddedError(f"Cannot open {path} ({error.strerror}): make it writable, or remove it.") from error
        return descriptor

    @cached_property
    def sockets(self) -> Path:
        """The private directory of the sockets: in the home, or in a temporary directory if that path is too long."""
        link = self.path / "sockets"
        name = f"wecom-{self.owner[0]}-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}"
        if link.is_symlink():
            # Settled by an earlier start, perhaps under another TMPDIR: everybody must look in the same place. Under
            # another name it is the place of the directory this one was copied from.
            kept = link.readlink()
            if kept.name == name and kept.parent.is_dir():
                return self._private(kept)
            link.unlink()
        if _takes_sockets(link):
            return self._private(link)
        with contextlib.suppress(FileNotFoundError):  # empty, but for a checkout that was moved to a longer path
            shutil.rmtree(link)
        temporary = (tempfile.gettempdir(), "/tmp", os.environ.get("XDG_RUNTIME_DIR", ""))  # noqa: S108 - see _private
        for parent in (Path(directory) for directory in temporary if directory.startswith("/")):
            if os.access(parent, os.W_OK | os.X_OK) and _takes_sockets(parent / name):
                link.symlink_to(self._private(parent / name))
                return parent / name
        raise EmbeddedError(
            f"No directory found for the sockets of {self.path}: set TMPDIR to a short writable directory."
        )

    def leave_temporary_directory(self) -> None:
        """Remove the directory of the sockets if it is a temporary one; the next start makes it again.

        Only while nothing of the servers runs, and under the lock that keeps others from starting them.
        """
        link = self.path / "sockets"
        with contextlib.suppress(OSError):  # not a link; or not empty, after a server was killed
            link.readlink().rmdir()
        self.__dict__.pop("sockets", None)

    def _private(self, path: Path) -> Path:
        """Make a directory only its owner enters, or raise EmbeddedError where somebody else has made it."""
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=PRIVATE)
            if self.owner[0] != os.geteuid():
                os.chown(path, *self.owner)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != self.owner[0]:
            raise EmbeddedError(f"{path} belongs to {_name_of(status.st_uid)} or is no directory: remove it.")
        if stat.S_IMODE(status.st_mode) != PRIVATE:
            path.chmod(PRIVATE)
        return path


def nobody() -> tuple[int, int]:
    """The uid and gid of the account without rights."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return NOBODY, NOBODY
    # macOS numbers nobody -2, which pwd reports as an unsigned number and setuid takes as such.
    return entry.pw_uid, entry.pw_gid


def _takes_sockets(directory: Path) -> bool:
    """Whether a socket in this directory has a short enough path, on a file system that has sockets."""
    path = os.fsencode(directory / LONGEST_SOCKET_NAME)
    if len(path) > LONGEST_SOCKET_PATH or b"," in path:  # libpq takes commas between hosts
        return False
    if (directory / LONGEST_SOCKET_NAME).exists():
        return True
    trial = directory.parent / f".socket-{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(os.fspath(trial))
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
    return True


def _name_of(uid: int) -> str:
    """A person's name for a uid, with the number."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
