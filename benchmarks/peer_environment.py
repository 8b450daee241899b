"""A throw-away virtual environment with wechatpy, which is no dependency of ours and must not become one."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

WECHATPY = "wechatpy==1.8.18"
SAME_AS_OURS = (
    "celery",
    "cryptography",
    "packaging",
    "psycopg",
    "psycopg-binary",
    "redis",
    "requests",
    "sqlalchemy",
    "urllib3",
)
INSTALL_SECONDS = 300


def peer_python(folder: Path) -> Path | None:
    """Make the environment and return its interpreter; None if the package index cannot be reached.

    Everything but wechatpy has the very versions we use, so that only the way of working differs.
    """
    python = folder / "bin" / "python"
    wanted = [WECHATPY, *(f"{name}=={version(name)}" for name in SAME_AS_OURS)]
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted],
            check=True,
            capture_output=True,
            timeout=INSTALL_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return python
