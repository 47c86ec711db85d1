"""Sealed secrets: read again only with the same key, for the same purpose, unchanged."""

import pytest

from clinic import sealing, secret_key
from clinic.settings import PASSING, Settings
from wsgi import create_app


@pytest.fixture(autouse=True)
def secret():
    sealing.use("k" * 32)


@pytest.mark.parametrize("content", [b"", b"JBSWY3DPEHPK3PXP", bytes(range(256)) * 40])
def test_what_was_sealed_is_read_again(content):
    assert sealing.opened("second_factor:1", sealing.seal("second_factor:1", content)) == content


def test_the_same_secret_is_never_sealed_alike_twice():
    sealed = {sealing.seal("second_factor:1", b"secret") for _ in range(50)}
    assert len(sealed) == 50
    assert not any(b"secret" in each for each in sealed)


def test_a_secret_moved_to_another_row_opens_nothing():
    with pytest.raises(sealing.SealBroken):
        sealing.opened("second_factor:2", sealing.seal("second_factor:1", b"secret"))


def test_another_secret_key_opens_nothing():
    sealed = sealing.seal("second_factor:1", b"secret")
    sealing.use("j" * 32)
    with pytest.raises(sealing.SealBroken):
        sealing.opened("second_factor:1", sealed)


def test_a_changed_or_cut_secret_opens_nothing():
    sealed = sealing.seal("second_factor:1", b"secret")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(sealing.SealBroken):
            sealing.opened("second_factor:1", bytes(changed))
        with pytest.raises(sealing.SealBroken):
            sealing.opened("second_factor:1", sealed[:place])


def test_the_application_seals_under_its_secret_key():
    sealed = sealing.seal("second_factor:1", b"secret")
    create_app(Settings(secret_key="j" * 32))
    with pytest.raises(sealing.SealBroken):
        sealing.opened("second_factor:1", sealed)
    create_app(Settings(secret_key="k" * 32))
    assert sealing.opened("second_factor:1", sealed) == b"secret"


def test_without_a_secret_key_nothing_is_sealed():
    sealing.use(None)
    with pytest.raises(sealing.SealBroken):
        sealing.seal("second_factor:1", b"secret")


def test_the_key_kept_in_the_data_folder_is_the_same_at_every_start(tmp_path):
    made = secret_key.lasting(Settings(data=tmp_path))
    assert made is not None
    assert len(made) == 64
    assert (tmp_path / "secret.key").stat().st_mode & 0o077 == 0
    assert secret_key.lasting(Settings(data=tmp_path)) == made
    assert secret_key.lasting(Settings(data=tmp_path, secret_key="k" * 32)) == "k" * 32
    assert secret_key.lasting(Settings(data=tmp_path, database_url="postgresql:///x")) is None


def test_what_the_key_before_sealed_is_opened_and_what_is_sealed_now_needs_the_new_one():
    sealed = sealing.seal("second_factor:1", b"secret")
    sealing.use("n" * 32, "k" * 32)
    assert sealing.opened("second_factor:1", sealed) == b"secret"
    again = sealing.seal("second_factor:1", b"secret")
    sealing.use("n" * 32)
    assert sealing.opened("second_factor:1", again) == b"secret"
    with pytest.raises(sealing.SealBroken):
        sealing.opened("second_factor:1", sealed)


def test_a_key_for_one_start_only_seals_nothing_that_is_kept():
    sealing.use(PASSING + "k" * 32)
    with pytest.raises(sealing.SealBroken):
        sealing.seal("second_factor:1", b"secret")
