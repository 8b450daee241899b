"""The wheel and the source distribution: what is in them, and that they work away from the repository."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.simulator.control import SimulatorControl

Eventually = Callable[..., None]
ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".wecom*", ".*_cache", ".hypothesis", "__pycache__", "results.json")
PRIVATE = (".env", "secrets/wecom_corpsecret", ".wecom-first/secret.key", ".venv/bin/python", "dist/old.whl")
HELLO = """
from worker import Producer, Text
print(Producer().send("default", Text(content="from a program"), users=["zhangsan"]))
"""


def build(directory: Path, target: str, output: Path) -> Path:
    """Build as an installer does, but with what is installed: no network, no environment of its own."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(output)]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    (built,) = output.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


def contents(wheel: Path) -> dict[str, int]:
    """The files of a wheel and their checksums."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository, with what lies about in one that is worked in, and without a history."""
    copy = tmp_path_factory.mktemp("checkout") / "wecom-worker"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    for name in PRIVATE:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("private")
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(checkout, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    output = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build(checkout, "sdist", output)) as archive:
        # As the documentation of `tarfile` has it for Pythons with and without filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # type: ignore[assignment]
        archive.extractall(output)
    (directory,) = (path for path in output.iterdir() if path.is_dir())
    return directory


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel and the libraries of this one, but not this repository."""
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--disable-pip-version-check", str(wheel)], check=True)
    paths = {"base": str(environment), "platbase": str(environment)}
    # A directory that is named in a .pth file has its own .pth files ignored, the one of `pip install --editable` too.
    libraries = "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (Path(sysconfig.get_path("purelib", vars=paths)) / "libraries.pth").write_text(libraries)
    return environment / "bin"


class Elsewhere:
    """Somebody who has installed the wheel, in a directory with modules that have the names of ours."""

    def __init__(self, bin_directory: Path, directory: Path) -> None:
        self.directory = directory / "project"
        self.bin = bin_directory
        self.settings = {
            "PATH": f"{bin_directory}:/usr/bin:/bin",
            "HOME": str(directory / "empty"),
            "WECOM_QUIET_BEFORE": "0",
            "WECOM_QUIET_AFTER": "0",
        }
        for path in (self.directory, directory / "empty", self.directory / "migrations"):
            path.mkdir()
        for name in ("celeryconfig.py", "migrations/__init__.py"):
            (self.directory / name).write_text("raise AssertionError('not ours')")

    def runs(self, *command: str) -> str:
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.directory,
            env=self.settings,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture
def elsewhere(installed: Path, tmp_path: Path) -> Elsewhere:
    return Elsewhere(installed, tmp_path)


@pytest.fixture
def up(elsewhere: Elsewhere) -> Iterator[subprocess.Popen[str]]:
    """`wecom up --simulator` from the wheel, beside a module of another project called `worker`."""
    foreign = elsewhere.directory / "worker.py"
    foreign.write_text("raise AssertionError('not ours')")
    with subprocess.Popen(
        [elsewhere.bin / "wecom", "up", "--simulator"],
        cwd=elsewhere.directory,
        env=elsewhere.settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def test_the_wheel_is_one_package_and_its_description(wheel: Path) -> None:
    names = contents(wheel)
    assert {re.sub(r"-[\d.]+\.dist-info", ".dist-info", name.partition("/")[0]) for name in names} == {
        "worker",
        "wecom_worker.dist-info",
    }
    assert {"worker/py.typed", "worker/celeryconfig.py", "worker/migrations/env.py"} <= set(names)
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []


def test_the_wheel_holds_every_file_of_the_package_and_every_migration(wheel: Path) -> None:
    package = [path for path in (ROOT / "worker").rglob("*") if path.is_file()]
    beside = [path for path in (ROOT / "migrations").rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in package}
    expected |= {f"worker/{path.relative_to(ROOT)}" for path in beside} | {"worker/celeryconfig.py"}
    held = {name for name in contents(wheel) if name.startswith("worker/")}
    assert held == {name for name in expected if "__pycache__" not in name}


def test_the_source_distribution_is_all_that_is_needed_to_build_and_test_and_nothing_private(
    checkout: Path, unpacked: Path
) -> None:
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    # Building compiles the build hook, unless the environment forbids it: what it leaves there belongs to nobody.
    files = [path for path in checkout.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert held == {str(path.relative_to(checkout)) for path in files} - set(PRIVATE) | {"PKG-INFO"}
    assert {"Makefile", "requirements.lock", ".ci/run", "tests/conftest.py", "docs/testing.md"} <= held


def test_a_wheel_of_the_source_distribution_is_the_wheel_of_the_repository(
    wheel: Path, unpacked: Path, tmp_path: Path
) -> None:
    assert contents(build(unpacked, "wheel", tmp_path)) == contents(wheel)


def test_the_installed_package_is_taken_and_brings_no_other_module(elsewhere: Elsewhere, installed: Path) -> None:
    where = "import worker, worker.ledger.revisions as r; print(worker.__file__); print(r.MIGRATIONS)"
    for path in elsewhere.runs("python", "-P", "-c", where).split():
        assert Path(path).is_relative_to(installed.parent)
    find = "import importlib.util as u; print(u.find_spec('celeryconfig'), u.find_spec('migrations'))"
    assert elsewhere.runs("python", "-P", "-c", find) == "None None\n"
    assert "Usage: wecom " in elsewhere.runs("wecom", "--help")


def test_messages_arrive_from_the_wheel_alone(
    elsewhere: Elsewhere, up: "subprocess.Popen[str]", eventually: Eventually
) -> None:
    assert up.stdout is not None
    said = ""
    while not (address := re.search(r"(http://\S+)/simulator/deliveries", said)):
        line = up.stdout.readline()
        assert line, said
        said += line
    with SimulatorControl(address[1]) as control:
        elsewhere.runs("wecom", "send", "default", "--text", "from the command", "--user", "zhangsan")
        eventually(lambda: control.served() == {"zhangsan": ["from the command"]})
        (elsewhere.directory / "worker.py").unlink()  # programs and Celery would take it for the package
        elsewhere.runs("python", "-c", HELLO)
        eventually(lambda: control.served() == {"zhangsan": ["from the command", "from a program"]})
    assert elsewhere.runs("wecom", "migrate")
    assert "task_default_queue: 'wecom'" in elsewhere.runs("python", "-m", "celery", "-A", "worker", "report")
    os.kill(up.pid, signal.SIGINT)
    said += up.stdout.read()
    assert up.wait() == 0, said
