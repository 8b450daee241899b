"""Where the files are that stand beside the package in the repository, and inside it once it is installed."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def located(name: str) -> Path:
    """Return the path of `celeryconfig.py` or `migrations`: hatch_build.py puts them into the package's wheel."""
    inside = PACKAGE / name
    return inside if inside.exists() else PACKAGE.parent / name
