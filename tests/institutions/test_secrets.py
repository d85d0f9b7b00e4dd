import pytest

from institutions.secrets import SecretUnreadable, seal, unseal


def test_a_sealed_secret_opens_for_its_owner_alone():
    sealed = seal(b"a secret", context="ak_one")

    assert unseal(sealed, context="ak_one") == b"a secret"
    with pytest.raises(SecretUnreadable):
        unseal(sealed, context="ak_two")


def test_the_same_secret_is_never_stored_twice_alike():
    assert seal(b"a secret", context="ak_one") != seal(b"a secret", context="ak_one")
    assert b"a secret" not in seal(b"a secret", context="ak_one")


@pytest.mark.parametrize("damage", [lambda s: s[:-1] + bytes([s[-1] ^ 1]), lambda s: s[:10], lambda s: b"", lambda s: b"\x02" + s[1:]])
def test_a_damaged_or_newer_secret_does_not_open(damage):
    with pytest.raises(SecretUnreadable):
        unseal(damage(seal(b"a secret", context="ak_one")), context="ak_one")


def test_another_encryption_key_opens_nothing(settings):
    sealed = seal(b"a secret", context="ak_one")
    settings.FIELD_ENCRYPTION_KEY = "YW5vdGhlci1rZXktdGhhdC1wcm90ZWN0cy1ub3RoISE="

    with pytest.raises(SecretUnreadable, match="FIELD_ENCRYPTION_KEY"):
        unseal(sealed, context="ak_one")
