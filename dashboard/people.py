"""Who acts on a page: the person behind the access token of the API, sent in the Authorization header.

No cookie is involved, so no other site can act in that person's name (decision 0014).
"""

from typing import Any

from django.http import HttpRequest
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.tokens import AccessToken

from exchange_platform.errors import ExchangeError
from institutions.models import User
from institutions.rights import Right, may


class NotLoggedIn(ExchangeError):
    """No person, or one whose token has run out (TOKEN_EXPIRED)."""

    code = "UNAUTHENTICATED"


class NotAllowed(ExchangeError):
    code = "FORBIDDEN"


def person(request: HttpRequest) -> User:
    """Raises: NotLoggedIn."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise NotLoggedIn("Log in first.")
    try:
        claims: Any = AccessToken(token)  # type: ignore[arg-type]
        user = User.objects.filter(pk=int(claims["user_id"]), is_active=True).first()
    except ExpiredTokenError:
        raise NotLoggedIn("The token has expired. Refresh it, or log in again.", code="TOKEN_EXPIRED") from None
    except (TokenError, KeyError, TypeError, ValueError):
        raise NotLoggedIn("This token is not valid.") from None
    if user is None:
        raise NotLoggedIn("This token is not valid any more.")
    return user


def allowed(request: HttpRequest, right: Right) -> User:
    """The person, who has this right. Raises: NotLoggedIn, NotAllowed."""
    user = person(request)
    if not may(user, right):
        raise NotAllowed("Your role does not allow this.")
    return user
