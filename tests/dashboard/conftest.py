"""People of the roles that use the pages."""

import pytest
from rest_framework_simplejwt.tokens import AccessToken

from institutions.models import User
from tests.factories import InstitutionFactory, UserFactory


def token_of(user: User) -> str:
    token = AccessToken()  # type: ignore[no-untyped-call]
    token["user_id"] = str(user.pk)
    return str(token)


@pytest.fixture
def operator(db: None) -> User:
    user: User = UserFactory(username="night-operator", role="operator", institution=None)
    return user


@pytest.fixture
def trader(db: None) -> User:
    user: User = UserFactory(username="a-trader", role="trader", institution=InstitutionFactory())
    return user
