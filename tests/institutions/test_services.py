import base64

import pytest
from django.db import connection

from institutions import queries
from institutions.models import AccountKind, AuditEntry
from institutions.services import (
    InvalidValue,
    NotFound,
    change_password,
    create_account,
    create_api_key,
    create_institution,
    create_user,
    ensure_house_account,
    freeze_account,
    freeze_institution,
    revoke_api_key,
)
from tests.factories import ACTOR, PASSWORD, AccountFactory, InstitutionFactory, UserFactory, api_key, house
from tests.support.approvals import two_people

pytestmark = pytest.mark.django_db


def entries(action: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action).order_by("pk"))


class TestInstitutions:
    def test_a_new_institution_is_audited(self):
        institution = InstitutionFactory(code="north", name="North Bank")

        (entry,) = entries("institution.create")
        assert (entry.actor, entry.subject, entry.after) == (ACTOR, "institution:north", {"name": "North Bank", "is_house": False})
        assert institution.pk

    @pytest.mark.parametrize(("code", "field"), [("north", "code"), ("not a slug", "code"), ("", "code"), ("x" * 41, "code")])
    def test_a_code_that_is_taken_or_malformed_is_refused_by_its_field(self, code, field):
        InstitutionFactory(code="north")

        with pytest.raises(InvalidValue) as refused:
            create_institution(code=code, name="North", actor=ACTOR)

        assert (refused.value.code, refused.value.field) == ("INVALID_FIELD", field)
        assert len(entries("institution.create")) == 1

    def test_there_is_one_house(self):
        house()
        with pytest.raises(InvalidValue):
            create_institution(code="second", name="Second house", is_house=True, actor=ACTOR)


class TestUsers:
    @pytest.mark.parametrize(
        ("role", "is_staff", "is_superuser"), [("operator", True, False), ("compliance", True, False), ("superuser", True, True)]
    )
    def test_staff_of_the_platform_belong_to_no_institution(self, role, is_staff, is_superuser):
        user = UserFactory(role=role, institution=None)

        assert (user.is_staff, user.is_superuser) == (is_staff, is_superuser)
        assert queries.find_user(user.pk).institution_code is None

    def test_an_institutions_own_compliance_officer_is_no_staff_of_the_platform(self):
        user = UserFactory(role="compliance", institution=InstitutionFactory(code="north"))

        assert not user.is_staff
        assert queries.find_user(user.pk).institution_code == "north"

    @pytest.mark.parametrize("role", ["trader", "institution_admin", "quant"])
    def test_everybody_else_belongs_to_one(self, role):
        with pytest.raises(InvalidValue) as refused:
            create_user(username="nobody", password=PASSWORD, role=role, institution_id=None, actor=ACTOR)
        assert refused.value.field == "institution"

    @pytest.mark.parametrize("password", ["short", "password12345", "annabelle-smith"])
    def test_a_weak_password_is_refused(self, password):
        with pytest.raises(InvalidValue) as refused:
            UserFactory(username="annabelle-smith", password=password)
        assert refused.value.field == "password"

    def test_an_unknown_role_is_refused(self):
        with pytest.raises(InvalidValue):
            UserFactory(role="wizard")

    def test_an_unknown_institution_is_refused(self):
        with pytest.raises(NotFound):
            create_user(username="nobody", password=PASSWORD, role="trader", institution_id=987654, actor=ACTOR)

    def test_the_password_is_stored_as_a_hash_and_never_audited(self):
        user = UserFactory()

        assert user.check_password(PASSWORD)
        assert PASSWORD not in str([(e.before, e.after, e.reason) for e in entries("user.create")])

    def test_a_changed_password_replaces_the_old_one(self):
        user = UserFactory()
        change_password(username=user.username, password="another battery staple", actor=ACTOR, reason="forgotten")

        user.refresh_from_db()
        assert user.check_password("another battery staple")
        assert not user.check_password(PASSWORD)
        assert entries("user.change_password")[0].reason == "forgotten"

    def test_the_password_of_nobody_cannot_be_changed(self):
        with pytest.raises(NotFound):
            change_password(username="nobody", password=PASSWORD, actor=ACTOR, reason="x")

    def test_a_deactivated_person_is_not_found(self):
        user = UserFactory()
        user.is_active = False
        user.save()
        assert queries.find_user(user.pk) is None


class TestAccounts:
    def test_a_new_account_is_a_customers_with_its_own_risk_counters(self):
        account = AccountFactory(name="north-1", institution=InstitutionFactory(code="north"))

        found = queries.find_account("north-1")
        assert (found.id, found.institution_code, found.kind, found.is_frozen) == (account.pk, "north", "CUSTOMER", False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT open_orders FROM risk_accountstate WHERE account_id = %s", [account.pk])
            assert cursor.fetchone() == (0,)

    def test_a_name_belongs_to_one_account_of_all_institutions(self):
        AccountFactory(name="north-1")
        with pytest.raises(InvalidValue) as refused:
            AccountFactory(name="north-1")
        assert refused.value.field == "name"

    def test_an_account_needs_an_institution_that_exists(self):
        with pytest.raises(NotFound):
            create_account(institution_id=987654, name="lost", actor=ACTOR)

    def test_the_accounts_of_an_institution_are_its_customers_in_the_order_they_were_made(self):
        north, south = InstitutionFactory(), InstitutionFactory()
        first, other, second = AccountFactory(institution=north), AccountFactory(institution=south), AccountFactory(institution=north)
        house()
        ensure_house_account(kind=AccountKind.EXTERNAL)

        assert [a.id for a in queries.accounts_of(north.pk)] == [first.pk, second.pk]
        assert [a.id for a in queries.accounts_of(None)] == [first.pk, other.pk, second.pk]
        assert queries.accounts_of(987654) == []

    def test_a_house_account_is_made_once(self):
        house()
        first = ensure_house_account(kind=AccountKind.EXTERNAL)

        assert ensure_house_account(kind=AccountKind.EXTERNAL) == first
        assert queries.find_account("house-external").kind == "EXTERNAL"

    def test_without_a_house_there_are_no_house_accounts(self):
        with pytest.raises(NotFound):
            ensure_house_account(kind=AccountKind.EXTERNAL)

    def test_a_customers_account_never_becomes_the_houses(self):
        house()
        AccountFactory(name="fees-a-b")
        with pytest.raises(InvalidValue):
            ensure_house_account(kind=AccountKind.FEES, name="fees-a-b")


class TestKeys:
    def test_an_hmac_key_is_found_with_the_bytes_that_sign(self):
        account = AccountFactory(name="north-1", institution=InstitutionFactory(code="north"))
        issued = api_key(account, scopes=["trade", "read"], is_unlimited=True, ip_allow_list=["10.0.0.0/8", "::1"])

        found = queries.find_api_key(issued.key)
        assert issued.key.startswith("ak_")
        assert len(issued.key) == 27
        assert len(issued.secret) == 64
        assert found == queries.KeyRecord(
            id=issued.id,
            key=issued.key,
            kind="hmac",
            institution_id=account.institution_id,
            institution_code="north",
            account_id=account.pk,
            account_name="north-1",
            scopes=frozenset({"read", "trade"}),
            ip_allow_list=("10.0.0.0/8", "::1"),
            is_unlimited=True,
            secret=issued.secret.encode(),
            public_key=None,
        )

    def test_the_secret_is_kept_encrypted_and_never_audited(self):
        issued = api_key(AccountFactory())

        with connection.cursor() as cursor:
            cursor.execute("SELECT secret FROM institutions_apikey WHERE key = %s", [issued.key])
            stored = bytes(cursor.fetchone()[0])
        assert issued.secret.encode() not in stored
        assert bytes.fromhex(issued.secret) not in stored
        assert issued.secret not in str([e.after for e in entries("api_key.create")])

    def test_an_institutions_key_names_no_account(self):
        institution = InstitutionFactory()
        issued = create_api_key(institution_id=institution.pk, account_id=None, scopes=["read"], actor=ACTOR)

        found = queries.find_api_key(issued.key)
        assert (found.account_id, found.account_name, found.institution_id) == (None, None, institution.pk)

    def test_an_ed25519_key_keeps_the_clients_public_key_and_no_secret(self):
        raw = bytes(range(32))
        issued = api_key(AccountFactory(), kind="ed25519", public_key=base64.b64encode(raw).decode())

        found = queries.find_api_key(issued.key)
        assert issued.secret is None
        assert (found.secret, found.public_key, found.kind) == (None, raw, "ed25519")

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"scopes": []}, "scopes"),
            ({"scopes": ["read", "everything"]}, "scopes"),
            ({"scopes": ["withdraw"]}, "ip_allow_list"),
            ({"ip_allow_list": ["10.0.0.0/33"]}, "ip_allow_list"),
            ({"ip_allow_list": ["10.0.0.1/8"]}, "ip_allow_list"),
            ({"ip_allow_list": ["example.com"]}, "ip_allow_list"),
            ({"kind": "ed25519"}, "public_key"),
            ({"kind": "ed25519", "public_key": "AAAA"}, "public_key"),
            ({"kind": "ed25519", "public_key": "not base64!"}, "public_key"),
            ({"public_key": base64.b64encode(bytes(32)).decode()}, "public_key"),
            ({"kind": "rsa", "public_key": base64.b64encode(bytes(32)).decode()}, "kind"),
        ],
    )
    def test_a_malformed_key_is_refused_by_its_field(self, change, field):
        with pytest.raises(InvalidValue) as refused:
            api_key(AccountFactory(), **change)
        assert refused.value.field == field

    def test_a_key_is_not_made_for_another_institutions_account(self):
        with pytest.raises(NotFound):
            create_api_key(institution_id=InstitutionFactory().pk, account_id=AccountFactory().pk, scopes=["read"], actor=ACTOR)

    def test_a_key_is_not_made_for_a_house_account(self):
        account_id = (owner := house()) and ensure_house_account(kind=AccountKind.EXTERNAL)
        with pytest.raises(NotFound):
            create_api_key(institution_id=owner.pk, account_id=account_id, scopes=["read"], actor=ACTOR)

    def test_a_revoked_key_opens_nothing_and_revoking_again_changes_nothing(self):
        issued = api_key(AccountFactory())
        for _ in range(2):
            revoke_api_key(key=issued.key, actor=ACTOR, reason="leaked")

        assert queries.find_api_key(issued.key) is None
        assert [e.reason for e in entries("api_key.revoke")] == ["leaked"]

    def test_a_key_that_never_was_is_not_found(self):
        assert queries.find_api_key("ak_nothing") is None
        with pytest.raises(NotFound):
            revoke_api_key(key="ak_nothing", actor=ACTOR, reason="leaked")


class TestFreezing:
    def test_freezing_an_account_is_audited_once_with_its_reason(self):
        account = AccountFactory(name="north-1")
        for _ in range(2):
            freeze_account(account_id=account.pk, actor="olga", reason="court order")

        assert queries.find_account("north-1").is_frozen
        (entry,) = entries("account.freeze")
        assert (entry.actor, entry.subject, entry.reason) == ("olga", "account:north-1", "court order")
        assert (entry.before, entry.after) == ({"is_frozen": False}, {"is_frozen": True})

        two_people("account.unfreeze", {"id": account.pk}, reason="lifted")
        assert not queries.find_account("north-1").is_frozen
        assert len(entries("account.unfreeze")) == 1

    def test_an_institution_is_frozen_and_unfrozen(self):
        institution = InstitutionFactory()
        freeze_institution(institution_id=institution.pk, actor="olga", reason="court order")
        institution.refresh_from_db()
        assert institution.is_frozen

        two_people("institution.unfreeze", {"id": institution.pk}, reason="lifted")
        institution.refresh_from_db()
        assert not institution.is_frozen

    @pytest.mark.parametrize("reason", ["", "   "])
    def test_nothing_is_frozen_without_a_reason(self, reason):
        account = AccountFactory()
        with pytest.raises(InvalidValue) as refused:
            freeze_account(account_id=account.pk, actor="olga", reason=reason)
        assert refused.value.field == "reason"
        account.refresh_from_db()
        assert not account.is_frozen

    def test_what_is_not_there_cannot_be_frozen(self):
        with pytest.raises(NotFound):
            freeze_institution(institution_id=987654, actor="olga", reason="court order")
