"""Encryption of credentials: what fits, what does not, and where the keys come from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from worker.encryption import KEY_FILE, KeyRing, SecretKeyError, load_key_ring
from worker.settings import load_settings

CREDENTIALS = {"corpid": "ww1", "corpsecret": "不可见"}
OWN_POSTGRES = "postgresql+psycopg://wecom:hunter2@db.example.com/wecom"
ENCRYPT_WHEN_TOLD = """
import sys
from worker.encryption import load_key_ring
from worker.settings import load_settings
chosen = load_settings(home=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
sys.stdout.buffer.write(load_key_ring(chosen).encrypt({"corpid": "ww1"}))
"""


def new_key() -> str:
    return Fernet.generate_key().decode()


def test_what_was_encrypted_is_read_again_and_cannot_be_seen() -> None:
    ring = KeyRing([new_key()])
    encrypted = ring.encrypt(CREDENTIALS)
    assert ring.decrypt(encrypted) == CREDENTIALS
    assert b"ww1" not in encrypted
    assert ring.encrypt(CREDENTIALS) != encrypted  # the same secret twice does not look the same


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    old, new = new_key(), new_key()
    encrypted_before = KeyRing([old]).encrypt(CREDENTIALS)
    both = KeyRing([new, old])
    assert both.decrypt(encrypted_before) == CREDENTIALS
    assert KeyRing([new]).decrypt(both.encrypt(CREDENTIALS)) == CREDENTIALS


def test_another_key_is_a_clear_error_without_the_key() -> None:
    encrypted = KeyRing([new_key()]).encrypt(CREDENTIALS)
    other = new_key()
    with pytest.raises(
        SecretKeyError, match="encrypted with another key: put the key in use then into WECOM_SECRET_KEYS"
    ) as caught:
        KeyRing([other]).decrypt(encrypted)
    assert other not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_was_changed_on_the_way_is_refused() -> None:
    ring = KeyRing([new_key()])
    encrypted = bytearray(ring.encrypt(CREDENTIALS))
    encrypted[40] ^= 1
    with pytest.raises(SecretKeyError):
        ring.decrypt(bytes(encrypted))


@pytest.mark.parametrize("key", ["hunter2", "", "schlüssel" * 5, "A" * 43, "=" * 44])
def test_a_malformed_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(SecretKeyError, match="WECOM_SECRET_KEYS holds something that is no Fernet key") as caught:
        KeyRing([new_key(), key])
    assert not key or key not in str(caught.value)


def test_without_any_key_there_is_no_ring() -> None:
    with pytest.raises(SecretKeyError, match="wecom secrets generate"):
        load_key_ring(load_settings(secret_keys=" , "))


def test_keys_of_the_settings_may_be_separated_generously() -> None:
    old, new = new_key(), new_key()
    ring = load_key_ring(load_settings(secret_keys=f" {new} ,{old},\n"))
    assert ring.decrypt(KeyRing([old]).encrypt(CREDENTIALS)) == CREDENTIALS
    assert KeyRing([new]).decrypt(ring.encrypt(CREDENTIALS)) == CREDENTIALS


def test_keys_of_the_settings_need_no_file(tmp_path: Path) -> None:
    load_key_ring(load_settings(secret_keys=new_key(), home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()


def test_a_postgres_of_ones_own_needs_a_key_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(SecretKeyError, match="WECOM_SECRET_KEYS is not set") as caught:
        load_key_ring(load_settings(database_url=OWN_POSTGRES, home=tmp_path / "home"))
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_the_key_beside_the_embedded_postgres_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    chosen = load_settings(home=tmp_path / "home")
    previous = os.umask(0)  # a generous umask must not make it readable
    try:
        encrypted = load_key_ring(chosen).encrypt(CREDENTIALS)
    finally:
        os.umask(previous)
    assert (chosen.home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert chosen.home.stat().st_mode & 0o777 == 0o700
    assert load_key_ring(chosen).decrypt(encrypted) == CREDENTIALS


def test_a_key_that_another_process_made_meanwhile_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load_settings(home=tmp_path / "home")
    encrypted = load_key_ring(chosen).encrypt(CREDENTIALS)
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as it was when this process looked
    assert load_key_ring(chosen).decrypt(encrypted) == CREDENTIALS
    assert [path.name for path in chosen.home.iterdir()] == [KEY_FILE]


def test_processes_that_start_at_once_use_one_key(tmp_path: Path) -> None:
    home = tmp_path / "home"
    processes = [
        subprocess.Popen([sys.executable, "-c", ENCRYPT_WHEN_TOLD, home], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    encrypted = [process.communicate()[0] for process in processes]
    ring = load_key_ring(load_settings(home=home))
    assert [ring.decrypt(one) for one in encrypted] == [{"corpid": "ww1"}] * len(processes)
    assert [path.name for path in home.iterdir()] == [KEY_FILE]
