"""Writes what each migration carries out into a file of its own, for squawk: DIRECTORY/0001.sql and so on."""

import io
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).resolve().parent.parent


def write(directory: Path) -> None:
    """Write the files, anew."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.sql"):
        old.unlink()
    config = Config(toml_file=ROOT / "pyproject.toml")
    for script in ScriptDirectory.from_config(config).walk_revisions():
        config.output_buffer = printed = io.StringIO()
        before = str(script.down_revision) if script.down_revision else "base"
        command.upgrade(config, f"{before}:{script.revision}", sql=True)
        (directory / f"{script.revision}.sql").write_text(printed.getvalue())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
