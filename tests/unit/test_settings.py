"""The settings: what counts as set, what is refused, and the table of them all in docs/settings.md.

`python tests/unit/test_settings.py` writes that table anew.
"""

import os
from pathlib import Path

import annotated_types
import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker import settings as settings_module
from worker.settings import (
    OFFICIAL_HOST,
    Settings,
    SettingsError,
    load_settings,
    put_into_environment,
    settings,
    settings_in,
    unknown_settings,
    unknown_settings_in_one_line,
)

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
INTRODUCTION = """\
# Settings

Every setting is an environment variable, a line in the file `.env` of the directory a process is started in, or a file
in `/run/secrets` that is named like the variable in lower case (`/run/secrets/wecom_secret_keys`) and holds the value
alone. The environment wins over `.env`, and `.env` over the files. An empty value counts as unset. A value that cannot
be used stops the process with one line that names the variable and never shows a value.

This table is written from `worker/settings.py` by `python tests/unit/test_settings.py`; a test keeps the two equal.

| variable | default | meaning |
| --- | --- | --- |
"""
SECRETS = ("DATABASE_URL", "REDIS_URL", "BROKER_URL", "SECRET_KEYS", "CORPSECRET")


def row(name: str, field: FieldInfo) -> str:
    default = "" if field.default is None else f"`{field.default}`"
    secret = " (secret)" if SecretStr in getattr(field.annotation, "__args__", ()) else ""
    limits = [
        f"{words} {value:g}"
        for limit in field.metadata
        for kind, words, value in (
            (annotated_types.Ge, "at least", getattr(limit, "ge", None)),
            (annotated_types.Gt, "more than", getattr(limit, "gt", None)),
            (annotated_types.Le, "at most", getattr(limit, "le", None)),
        )
        if isinstance(limit, kind)
    ]
    meaning = "; ".join([f"{field.description}{secret}", *([", ".join(limits)] if limits else [])])
    return f"| `WECOM_{name.upper()}` | {default} | {meaning} |\n"


def document() -> str:
    return INTRODUCTION + "".join(row(name, field) for name, field in Settings.model_fields.items())


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The directory of secret files."""
    directory = tmp_path / "run-secrets"
    directory.mkdir()
    monkeypatch.setattr(settings_module, "SECRETS_DIRECTORY", directory)
    return directory


def test_the_document_lists_every_setting_as_it_is() -> None:
    assert DOCUMENT.read_text(encoding="utf-8").splitlines() == document().splitlines(), (
        "write it anew with: python tests/unit/test_settings.py"
    )


@pytest.mark.parametrize(("name", "field"), Settings.model_fields.items(), ids=Settings.model_fields)
def test_every_setting_is_described(name: str, field: FieldInfo) -> None:
    assert field.description, name


def test_without_any_variable_everything_has_its_default() -> None:
    assert load_settings() == Settings.model_construct()


def test_a_variable_of_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_CONNECTIONS", "7")
    assert load_settings().connections == 7


def test_the_file_of_settings_is_read_and_the_environment_wins_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("WECOM_CONNECTIONS=7\nWECOM_CHUNK=9\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("WECOM_CHUNK", "11")
    assert (load_settings().connections, load_settings().chunk) == (7, 11)


def test_a_secret_file_is_read_without_its_line_end_and_the_environment_wins_over_it(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (secrets / "wecom_corpsecret").write_text("from-a-file\n")
    (secrets / "wecom_corpid").write_text("ww-file\n")
    monkeypatch.setenv("WECOM_CORPID", "ww-environment")
    chosen = load_settings()
    assert chosen.corpsecret is not None
    assert (chosen.corpsecret.get_secret_value(), chosen.corpid) == ("from-a-file", "ww-environment")


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_variable_counts_as_unset(name: str, blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"WECOM_{name.upper()}", blank)
    assert load_settings() == Settings.model_construct()


def test_an_empty_variable_does_not_hide_what_a_file_says(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (secrets / "wecom_corpid").write_text("ww-file")
    Path(".env").write_text("WECOM_CHUNK=9\nWECOM_CONNECTIONS=\n")
    monkeypatch.setenv("WECOM_CORPID", "")
    monkeypatch.setenv("WECOM_CHUNK", "")
    assert (load_settings().corpid, load_settings().chunk, load_settings().connections) == ("ww-file", 9, 200)


def test_an_empty_secret_file_counts_as_unset(secrets: Path) -> None:
    (secrets / "wecom_secret_keys").write_text("\n")
    assert load_settings().secret_keys is None


def test_a_secret_file_that_may_not_be_read_is_one_clear_line(secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = secrets / "wecom_secret_keys"
    path.write_text("hidden")

    def refuse(self: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)  # the tests may be run by root, who can read everything
    with pytest.raises(SettingsError, match=f"{path} cannot be read \\(Permission denied\\)"):
        load_settings()


def test_a_secret_file_that_is_no_text_is_one_clear_line_without_its_content(secrets: Path) -> None:
    (secrets / "wecom_secret_keys").write_bytes(b"hunter2\xff")
    with pytest.raises(SettingsError, match=r"^a file of settings cannot be read \(UnicodeDecodeError\)$"):
        load_settings()


def test_what_is_handed_over_wins_and_none_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_CHUNK", "11")
    assert load_settings(chunk=3).chunk == 3
    assert load_settings(chunk=None).chunk == 11


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AGENTID", "app"),
        ("CONNECT_TIMEOUT", "0"),
        ("CONNECTIONS", "0"),
        ("READ_TIMEOUT", "121"),
        ("CHUNK", "2.5"),
        ("QUIET_SPREAD", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("API_BASE_URL", "ftp://qyapi.weixin.qq.com"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WECOM_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"WECOM_{name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("READ_TIMEOUT", "soon", "must be a number"),
        ("CHUNK", "soon", "must be a whole number"),
        ("CHUNK", "2.5", "must be a whole number"),
        ("CHUNK", "0", "must be at least 1"),
        ("CHUNK", "5001", "must be at most 5000"),
        ("CONNECT_TIMEOUT", "0", "must be more than 0"),
        ("LOG_LEVEL", "LOUD", "must be one of: 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_wrong_value_is_refused_in_plain_words(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WECOM_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"WECOM_{name}: {words}"


def test_variables_that_are_no_settings_are_named_with_the_nearest_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_settings() == {}
    assert unknown_settings_in_one_line() is None
    for name in ("WECOM_REDTIMEOUT", "wecom_chunk", "WECOM_TEST_REDIS_URL", "WECOM_WEB_SERVICE_HOST"):
        monkeypatch.setenv(name, "hunter2")
    Path(".env").write_text("WECOM_DATABSE_URL=hunter2\nWECOM_HOME=x\nOTHER=1\n")
    assert unknown_settings() == {
        "WECOM_DATABSE_URL": "WECOM_DATABASE_URL",
        "WECOM_REDTIMEOUT": "WECOM_READ_TIMEOUT",
        "WECOM_WEB_SERVICE_HOST": None,
    }
    assert unknown_settings_in_one_line() == (
        "warning: no setting, so without effect: WECOM_DATABSE_URL (did you mean WECOM_DATABASE_URL?), "
        "WECOM_REDTIMEOUT (did you mean WECOM_READ_TIMEOUT?), WECOM_WEB_SERVICE_HOST"
    )


def test_the_settings_in_the_configuration_of_a_web_application_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WECOM_CHUNK", "10")
    monkeypatch.setenv("WECOM_CONNECTIONS", "20")
    configuration = {"WECOM_CHUNK": 30, "WECOM_CONNECTIONS": None, "WECOM_MEDIA_HOSTS": ["a.cn", "b.cn"], "DEBUG": True}
    assert settings_in(configuration) == {"chunk": 30, "media_hosts": ["a.cn", "b.cn"]}
    asked = load_settings(**settings_in(configuration))
    assert (asked.chunk, asked.connections, asked.media_hosts) == (30, 20, ("a.cn", "b.cn"))


def test_a_command_and_what_it_starts_have_the_settings_of_a_web_application(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WECOM_CHUNK", "WECOM_MEDIA_HOSTS"):
        monkeypatch.setenv(name, "7")  # what the test sets is undone
    assert settings().chunk == 7
    put_into_environment({"WECOM_CHUNK": 30, "WECOM_MEDIA_HOSTS": ("a.cn", "b.cn"), "SECRET_KEY": "hunter2"})
    assert (os.environ["WECOM_CHUNK"], os.environ["WECOM_MEDIA_HOSTS"]) == ("30", "a.cn,b.cn")
    assert (settings().chunk, settings().media_hosts) == (30, ("a.cn", "b.cn"))


def test_names_in_a_configuration_that_are_no_settings_are_named() -> None:
    assert unknown_settings_in_one_line(["WECOM_CHUNK", "SECRET_KEY"]) is None
    assert unknown_settings_in_one_line(["WECOM_CHUNKS", "SECRET_KEY"]) == (
        "warning: no setting, so without effect: WECOM_CHUNKS (did you mean WECOM_CHUNK?)"
    )


def test_several_wrong_values_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_CHUNK", "none")
    monkeypatch.setenv("WECOM_CONNECTIONS", "many")
    with pytest.raises(SettingsError, match=r"WECOM_CONNECTIONS: .*; WECOM_CHUNK: "):
        load_settings()


def test_no_refusal_shows_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, "AGENTID", "API_BASE_URL", "LOG_LEVEL"):
        monkeypatch.setenv(f"WECOM_{name}", "hunter2")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_secrets_are_not_shown_by_the_settings_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(f"WECOM_{name}", "redis://hunter2")
    assert "hunter2" not in f"{load_settings()!r} {load_settings()}"


@pytest.mark.parametrize("level", ["debug", "Info", "WARNING"])
def test_a_log_level_may_be_written_small(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_LOG_LEVEL", level)
    assert load_settings().log_level == level.upper()


@pytest.mark.parametrize(
    "url",
    ["http://qyapi.weixin.qq.com", "http://localhost.example.com", "http://10.0.0.1:8080", "//localhost"],
)
def test_secrets_never_travel_unencrypted_to_another_machine(url: str) -> None:
    with pytest.raises(SettingsError, match="WECOM_API_BASE_URL: must begin with https://"):
        load_settings(api_base_url=url)


@pytest.mark.parametrize(
    "url",
    ["wecom", "https://", "https://:443", "https://host:99999", "https://host:door", "https://me:word@host", "http://"],
)
def test_the_address_of_the_api_must_name_a_host_and_no_secret(url: str) -> None:
    with pytest.raises(SettingsError, match="WECOM_API_BASE_URL: is no address of a host") as caught:
        load_settings(api_base_url=url)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://wecom.example.com", "http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_https_and_this_machine_are_allowed_and_a_last_slash_is_dropped(url: str) -> None:
    assert load_settings(api_base_url=f"{url}/").api_base_url == url


def test_the_official_host_is_encrypted() -> None:
    assert load_settings().api_base_url == OFFICIAL_HOST
    assert OFFICIAL_HOST.startswith("https://")


def test_a_lease_outlasts_the_slowest_call() -> None:
    assert load_settings(connect_timeout=10, read_timeout=30, lease_seconds=45).lease_seconds == 45
    with pytest.raises(SettingsError, match=r"^WECOM_LEASE_SECONDS is 44, but must be at least 45: ") as caught:
        load_settings(connect_timeout=10, read_timeout=30, lease_seconds=44)
    assert "WECOM_CONNECT_TIMEOUT + WECOM_READ_TIMEOUT" in str(caught.value)


def test_an_unknown_fate_can_be_cleared_up_while_duplicates_are_suppressed() -> None:
    assert load_settings(lease_seconds=60, duplicate_check_seconds=180).duplicate_check_seconds == 180
    with pytest.raises(SettingsError, match=r"^WECOM_DUPLICATE_CHECK_SECONDS is 179, but must be at least 180, twice"):
        load_settings(lease_seconds=60, duplicate_check_seconds=179)


def test_quiet_windows_leave_room_in_the_half_hour() -> None:
    assert load_settings(quiet_before=600, quiet_after=600, quiet_spread=600)  # 1800, the longest that is allowed
    assert load_settings(quiet_before=0, quiet_after=0, quiet_spread=1)
    with pytest.raises(SettingsError, match="WECOM_QUIET_AFTER: "):
        load_settings(quiet_after=601)


@pytest.mark.parametrize(
    "url", ["redis://:p@host/0", "rediss://host", "redis+socket:///run/redis.sock", "amqp://u:p@host//", "amqps://host"]
)
def test_a_broker_is_redis_or_rabbitmq(url: str) -> None:
    broker_url = load_settings(broker_url=url).broker_url
    assert broker_url is not None
    assert broker_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url", ["rabbit://u:hunter2@host", "unix:///run/redis.sock", "sqs://hunter2", "memory://", "x"]
)
def test_another_broker_is_one_clear_line(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^WECOM_BROKER_URL: must begin with one of redis://, ") as refusal:
        load_settings(broker_url=url)
    assert "hunter2" not in str(refusal.value)


def test_settings_do_not_change_while_they_are_used() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().chunk = 1  # type: ignore[misc]


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
