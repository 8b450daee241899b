"""Every setting, and the only place that reads the environment.

A setting is an environment variable with the prefix `WECOM_`, a line in `.env`, or a file in a directory of
secrets (`/run/secrets/wecom_corpsecret`, as Docker mounts them). `docs/settings.md` lists them all.
"""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, DotEnvSettingsSource, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSource
from redis import Redis

OFFICIAL_HOST = "https://qyapi.weixin.qq.com"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SECRETS_DIRECTORY = Path("/run/secrets")
PREFIX = "WECOM_"
BROKERS = ("redis://", "rediss://", "redis+socket://", "amqp://", "amqps://", "pyamqp://")
"""How the addresses of brokers begin: of those of Celery, Redis and RabbitMQ keep what they are given well enough."""
OF_TESTS = "TEST_"
"""How what only our tests read goes on behind the prefix."""
PLAIN_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "int_parsing": "a whole number",
        "int_parsing_size": "a whole number",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_parsing": "a number",
        "float_type": "a number",
        "finite_number": "a number",
        "greater_than": "more than {gt}",
        "greater_than_equal": "at least {ge}",
        "less_than": "less than {lt}",
        "less_than_equal": "at most {le}",
        "literal_error": "one of: {expected}",
    }
)
"""What a value must be, by pydantic's error types."""
LEAST_LEASE_MARGIN = 5
"""Seconds a lease must outlast the slowest possible call by; a new access token may be fetched meanwhile."""
LEAST_CHECK_MARGIN = 60
"""Seconds the duplicate check must outlast two leases by."""


class SettingsError(ValueError):
    """A setting has a value that cannot be used; the text is one line that names it."""


def _in_capitals(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _by_commas(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings):
    """What can be set; every field `name` is the environment variable `WECOM_NAME`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,  # compose files and templates of `.env` pass on empty variables
        extra="ignore",
        hide_input_in_errors=True,
        frozen=True,
    )

    # Servers
    database_url: SecretStr | None = Field(
        None,
        description="Postgres, as an SQLAlchemy URL (`postgresql+psycopg://user:password@host/name`); "
        "unset: the embedded Postgres in `WECOM_HOME`",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="Redis, as a redis-py URL (`redis://`, `rediss://`, `unix://`); "
        "unset: the embedded Redis in `WECOM_HOME`",
    )
    broker_url: SecretStr | None = Field(
        None,
        description="Celery's broker, as a Celery URL of Redis (`redis://`, `rediss://`, `redis+socket://`) "
        "or RabbitMQ (`amqp://`, `amqps://`); unset: the same Redis",
    )
    silence_seconds: float = Field(
        15,
        ge=2,
        le=300,
        description="seconds after which a connection is given up on which Postgres says nothing and does nothing",
    )
    home: Path = Field(Path(".wecom"), description="directory of the embedded servers, their data and their key")

    # Credentials
    secret_keys: SecretStr | None = Field(
        None,
        description="Fernet keys, separated by commas, that encrypt credentials in the ledger and tokens in "
        "Redis; the first encrypts, all decrypt; unset with the embedded Postgres: made and kept in `WECOM_HOME`",
    )
    corpid: str | None = Field(None, description="with the next two: makes the sender `default`; the corp's id")
    corpsecret: SecretStr | None = Field(None, description="the secret of the app of the sender `default`")
    agentid: int | None = Field(None, description="the agentid of the app of the sender `default`")

    # The way to WeCom
    api_base_url: str = Field(
        OFFICIAL_HOST, description="where the API is; another host must be https or on this machine"
    )
    proxy: SecretStr | None = Field(
        None, description="HTTP proxy for calls to WeCom; the usual proxy variables of the environment are ignored"
    )
    ca_bundle: Path | None = Field(
        None,
        description="PEM file with the certificates of those who vouch for the API's host, where it is a private one "
        "or a proxy looks into TLS; unset: the usual authorities",
    )
    connect_timeout: float = Field(5, gt=0, le=60, description="seconds to wait for a connection to WeCom")
    read_timeout: float = Field(15, gt=0, le=120, description="seconds to wait for WeCom's answer")
    connections: int = Field(200, ge=1, le=1000, description="connections to WeCom of one worker process")

    # Delivery
    chunk: int = Field(200, ge=1, le=5000, description="messages claimed at once")
    deliveries: int = Field(4, ge=1, le=64, description="chunks of one sender in work at once, over all processes")
    lease_seconds: float = Field(60, ge=1, le=600, description="seconds a claimed message is reserved for its worker")
    duplicate_check_seconds: int = Field(
        600,
        ge=60,
        le=7200,
        description="seconds in which WeCom suppresses a repetition of a message, at least; "
        "only within them is a message of unknown fate sent again",
    )
    media_hosts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_by_commas)] = Field(
        (), description="hosts, separated by commas, from which files named by https address are fetched"
    )
    campaign_failure_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of a campaign's messages that pauses it when they fail, 50 settled ones on; 0: never",
    )
    idempotency_seconds: int = Field(604800, ge=60, description="seconds an idempotency key is remembered")

    # Quiet windows around minute 0 and minute 30
    quiet_before: int = Field(60, ge=0, le=600, description="seconds before minute 0 and 30 without sends")
    quiet_after: int = Field(120, ge=0, le=600, description="seconds after minute 0 and 30 without sends")
    quiet_spread: int = Field(
        240, ge=1, le=600, description="seconds over which what was due in a quiet window is spread after it"
    )

    # Housekeeping
    dispatch_seconds: float = Field(1, gt=0, le=60, description="seconds between two looks for due messages")
    reap_seconds: float = Field(10, gt=0, le=600, description="seconds between two looks for expired leases")
    liveness_file: Path | None = Field(
        None,
        description="file that a worker or beat touches every few seconds while it lives; "
        "`python -m worker.liveness` looks at it",
    )
    remote_control: bool = Field(
        default=False,
        description="whether workers obey Celery's remote control (`celery inspect`, Flower), by which whoever reaches "
        "the broker can stop them",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_in_capitals)] = Field(
        "INFO", description="how much is logged: DEBUG, INFO, WARNING or ERROR"
    )

    @model_validator(mode="before")
    @classmethod
    def _blank_is_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Let the default stand where only blanks were given, as in an empty secret file."""
        return {name: value for name, value in values.items() if not (isinstance(value, str) and not value.strip())}

    @field_validator("api_base_url")
    @classmethod
    def _secrets_travel_encrypted(cls, value: str) -> str:
        address = urlsplit(value)
        try:
            usable = bool(address.hostname) and address.port != 0 and not address.query and address.username is None
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("is no address of a host; write it as https://qyapi.weixin.qq.com")
        if address.scheme == "https" or (address.scheme == "http" and address.hostname in LOOPBACK):
            return value.rstrip("/")
        raise ValueError("must begin with https://, or be http:// on this machine: secrets travel over it")

    @field_validator("redis_url")
    @classmethod
    def _redis_is_named_as_redis_py_reads_it(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return value
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        try:
            Redis.from_url(value.get_secret_value())
        except ValueError:
            raise ValueError("cannot be read; write it as redis://:password@host:6379/0") from None
        return value

    @field_validator("broker_url")
    @classmethod
    def _a_broker_is_one_that_is_tested(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or value.get_secret_value().startswith(BROKERS):
            return value
        raise ValueError(f"must begin with one of {', '.join(BROKERS)}")

    @field_validator("database_url")
    @classmethod
    def _a_server_is_named_by_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or "://" in value.get_secret_value():
            return value
        raise ValueError("must be a URL, with :// in it")

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        slowest_call = self.connect_timeout + self.read_timeout
        if self.lease_seconds < slowest_call + LEAST_LEASE_MARGIN:
            raise ValueError(
                f"WECOM_LEASE_SECONDS is {self.lease_seconds:g}, but must be at least "
                f"{slowest_call + LEAST_LEASE_MARGIN:g}: one call may take {slowest_call:g} s "
                "(WECOM_CONNECT_TIMEOUT + WECOM_READ_TIMEOUT)"
            )
        least_check = 2 * self.lease_seconds + LEAST_CHECK_MARGIN
        if self.duplicate_check_seconds < least_check:
            raise ValueError(
                f"WECOM_DUPLICATE_CHECK_SECONDS is {self.duplicate_check_seconds}, but must be at least "
                f"{least_check:g}, twice WECOM_LEASE_SECONDS and {LEAST_CHECK_MARGIN}: a message of unknown fate needs "
                "time to be sent again"
            )
        return self


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `overrides` win over the environment, `.env` and secret files.

    Raises:
        SettingsError: one line naming the variable and what it must be; never the value, which may be a secret.
    """
    directory = SECRETS_DIRECTORY if SECRETS_DIRECTORY.is_dir() else None
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(_secrets_dir=directory, **given)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = (f"{_variable(fault['loc'])}{_in_plain_words(fault)}" for fault in error.errors())
        raise SettingsError("; ".join(faults)) from None
    except UnreadableSource as error:
        reason = error.__cause__
        if not isinstance(reason, OSError):
            raise SettingsError(f"a file of settings cannot be read ({type(reason).__name__})") from None
        raise SettingsError(
            f"{reason.filename} cannot be read ({reason.strerror}); the user that runs this process must be able to"
        ) from None


def settings_in(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the settings out of the configuration of a Django project or a Flask app, for `load_settings`.

    They have the names of the variables there, `WECOM_DATABASE_URL`; None means that the environment decides.
    """
    named = ((name, configuration.get(f"{PREFIX}{name.upper()}")) for name in Settings.model_fields)
    return {name: value for name, value in named if value is not None}


def put_into_environment(configuration: Mapping[str, Any]) -> None:
    """Let this process and those it starts have the settings of a Django project or a Flask app.

    This is for a process that runs one command and has read no settings yet. A web application may serve several
    configurations; it hands each to its producer instead.
    """
    for name, value in settings_in(configuration).items():
        os.environ[f"{PREFIX}{name.upper()}"] = ",".join(value) if isinstance(value, list | tuple) else str(value)
    settings.cache_clear()


def unknown_settings(names: Iterable[str] | None = None) -> dict[str, str | None]:
    """Return the names that look like settings and are none, with the setting that was probably meant.

    Without `names` they are those that stand in the environment or in `.env`. They have no effect. Where no setting is
    near, there is None.
    """
    known = {name.upper() for name in Settings.model_fields}
    unknown = {}
    for name in sorted({*os.environ, *_names_in_file()} if names is None else names):
        setting = name.upper().removeprefix(PREFIX)
        if setting == name.upper() or setting in known or setting.startswith(OF_TESTS):
            continue
        nearest = get_close_matches(setting, known, n=1)
        unknown[name] = f"{PREFIX}{nearest[0]}" if nearest else None
    return unknown


def unknown_settings_in_one_line(names: Iterable[str] | None = None) -> str | None:
    """Say which names, by default those of the variables, are no settings; None if there are none of that kind."""
    unknown = unknown_settings(names)
    if not unknown:
        return None
    named = ", ".join(name + (f" (did you mean {nearest}?)" if nearest else "") for name, nearest in unknown.items())
    return f"warning: no setting, so without effect: {named}"


def _names_in_file() -> set[str]:
    try:
        return {name.upper() for name in DotEnvSettingsSource(Settings).env_vars}
    except (OSError, UnicodeDecodeError):  # reading the settings says so
        return set()


def _in_plain_words(fault: ErrorDetails) -> str:
    """Say what a value must be, without the value."""
    words = PLAIN_WORDS.get(fault["type"])
    if words is None:
        return fault["msg"].removeprefix("Value error, ")
    limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in fault.get("ctx", {}).items()}
    return f"must be {words.format_map(limits)}"


def _variable(location: tuple[int | str, ...]) -> str:
    return f"WECOM_{str(location[0]).upper()}: " if location else ""


@cache
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return load_settings()
