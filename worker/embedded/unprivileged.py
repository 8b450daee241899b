"""The launcher: becomes the account that owns the servers, then the server itself.

Run by path (`python -I -S unprivileged.py MODE UID GID LOCK COMMAND...`), so it imports nothing but the standard
library. Postgres refuses to run as root, and a checkout under /root is closed to everybody else: the launcher gives up
root for an unprivileged uid and keeps one capability, CAP_DAC_OVERRIDE, to pass the closed directories. Where root
cannot change its uid (a container without capabilities, a user namespace with one uid), it enters a user namespace
in which the same uid has another number. MODE is one of MODES; LOCK is the descriptor of a locked file or `none`.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

# Values of Linux <sys/prctl.h>, <linux/capability.h> and <sched.h>; the Python library has no names for them.
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_IS_SET = 1
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION = 0x20080522
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID = 0, 1, 5, 6, 7
NEEDED_TO_SWITCH = sum(1 << bit for bit in (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_KILL, CAP_SETGID, CAP_SETUID))
CLONE_NEWUSER = 0x10000000


def _call(name: str, *arguments: object) -> int:
    """Call the C library and return its answer; raises OSError with its errno."""
    library = ctypes.CDLL(None, use_errno=True)
    answer: int = getattr(library, name)(*arguments)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return answer


def _prctl(option: int, first: int, second: int = 0) -> int:
    """Call prctl, whose arguments are C longs."""
    return _call("prctl", option, *(ctypes.c_ulong(value) for value in (first, second, 0, 0)))


def can_switch(uid: int, gid: int) -> bool:
    """Whether this root process may become another account and keep CAP_DAC_OVERRIDE."""
    if sys.platform != "linux":
        return True
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_DAC_OVERRIDE)
        mapped = all(_is_mapped(Path(table), number) for table, number in (("uid_map", uid), ("gid_map", gid)))
    except (OSError, StopIteration):
        return False
    return mapped and int(effective.split()[1], 16) & NEEDED_TO_SWITCH == NEEDED_TO_SWITCH


def _is_mapped(table: Path, number: int) -> bool:
    """Whether the user namespace we live in knows this uid or gid."""
    for line in ("/proc/self" / table).read_text(encoding="ascii").splitlines():
        first, _, count = map(int, line.split())
        if first <= number < first + count:
            return True
    return False


def _stay(_uid: int, _gid: int) -> None:
    """Run as whoever we are."""


def _switch(uid: int, gid: int) -> None:
    """Become the account for good; on Linux keep CAP_DAC_OVERRIDE across the coming exec."""
    if sys.platform == "linux":
        _prctl(PR_SET_KEEPCAPS, 1)
        # Postgres asks access(2) for its own binaries, which otherwise ignores capabilities of other uids than root.
        # Not allowed everywhere (CAP_SETPCAP), and needed only where the binaries are closed to others.
        with contextlib.suppress(PermissionError):
            _prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        # Two structures of (effective, permitted, inheritable): capabilities 0-31, then 32-63.
        kept = 1 << CAP_DAC_OVERRIDE
        _call("capset", header, (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0))
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE)


def _enter_namespace(uid: int, gid: int) -> None:
    """Keep the account, but see it under another number: files stay readable, and Postgres does not see root."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _call("unshare", CLONE_NEWUSER)
    # Absent on kernels before 3.19, where nothing has to be denied first.
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1", encoding="ascii")


MODES: dict[str, Callable[[int, int], None]] = {"stay": _stay, "switch": _switch, "namespace": _enter_namespace}


def main(mode: str, uid: str, gid: str, lock: str, *command: str) -> None:
    """Become the account and run the command; never returns."""
    try:
        if lock != "none":
            # The lock file says who holds the lock: we do, and soon the server, which has our pid.
            os.truncate(int(lock), 0)
            os.pwrite(int(lock), f"{os.getpid()}\n".encode("ascii"), 0)
        os.umask(0o077)
        MODES[mode](int(uid), int(gid))
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        sys.exit(f"cannot run {command[0]} in mode {mode} as uid {uid}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
