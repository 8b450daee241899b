"""`make check` looks through the SQL of every migration for what would hold up those who write."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker.ledger.revisions import MIGRATIONS

ROOT = Path(__file__).parents[2]
SQUAWK = Path(sys.executable).with_name("squawk")
FIRST_LINES = "set lock_timeout = '200ms';\nset statement_timeout = 0;\n"


def squawk(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [SQUAWK, "--config", ROOT / ".squawk.toml", "--reporter", "gcc", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_make_check_looks_through_the_sql_of_every_migration() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    assert ".ci/migrations_sql.py $(VENV)/migrations" in recipe
    assert "squawk $(VENV)/migrations/*.sql" in recipe


def test_every_migration_is_printed_and_none_holds_up_who_writes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / ".ci" / "migrations_sql.py", tmp_path], check=True, timeout=60)
    printed = sorted(tmp_path.glob("*.sql"))
    assert [file.stem for file in printed] == sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("*.py"))
    for file in printed:
        assert f"version_num='{file.stem}'" in (said := file.read_text()) or f"VALUES ('{file.stem}')" in said
    found = squawk(*printed)
    assert (found.returncode, found.stdout) == (0, ""), found.stdout


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("create index if not exists a on wecom.messages (errcode);", "require-concurrent-index-creation"),
        ("drop index if exists wecom.messages_sent;", "require-concurrent-index-deletion"),
        ("alter table wecom.messages add constraint a check (attempt > 0);", "constraint-missing-not-valid"),
        ("alter table wecom.messages alter column attempt set not null;", "adding-not-nullable-field"),
        ("alter table wecom.messages alter column error type varchar;", "changing-column-type"),
        ("alter table wecom.messages add column a uuid default gen_random_uuid();", "adding-field-with-default"),
        ("drop table wecom.suites;", "ban-drop-table"),
    ],
)
def test_what_would_hold_up_who_writes_is_found(tmp_path: Path, statement: str, rule: str) -> None:
    (tmp_path / "bad.sql").write_text(f"{FIRST_LINES}begin;\n{statement}\ncommit;\n")
    assert rule in squawk(tmp_path / "bad.sql").stdout
