"""Tokens for people: username and password against an access token of 5 minutes and a refresh token."""

from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import check_password, make_password
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.tokens import RefreshToken

from api import auth, throttling
from api.errors import BadInput, Unauthenticated
from api.handler import NOBODY, ApiRequest
from api.rest import schemas
from api.rest.base import ApiView, answer
from api.rest.parsing import missing, only_known, read_object, text
from api.threads import run_in_thread
from institutions import queries as institutions
from institutions.queries import UserRecord

PASSWORD_LENGTH: Final = 1000


def _field(data: dict[str, Any], name: str, *, longest: int) -> str:
    if name not in data:
        raise missing(name)
    return text(name, data[name], longest=longest)


def _wrong() -> Unauthenticated:
    return Unauthenticated("Username or password is wrong.")


def _log_in(username: str, password: str) -> UserRecord:
    """The active person with this password; takes as long for one who does not exist. Raises: Unauthenticated."""
    row = get_user_model().objects.filter(username=username).values_list("pk", "password").first()
    if row is None:
        make_password(password)
        raise _wrong()
    user = institutions.find_user(row[0]) if check_password(password, row[1]) else None
    if user is None:
        raise _wrong()
    return user


def _find(user_id: int) -> UserRecord:
    user = institutions.find_user(user_id)
    if user is None:
        raise Unauthenticated("This token is not valid any more.")
    return user


def _claims(token: Any, user: UserRecord) -> Any:
    token["user_id"] = str(user.id)
    token["user"] = user.username
    token["institution"] = user.institution_code
    token["role"] = user.role
    token["permissions"] = sorted(auth.RIGHTS.get(user.role, ()))
    return token


class TokenView(ApiView):
    access = {"POST": NOBODY}

    @extend_schema(**schemas.LOG_IN)
    async def post(self, request: ApiRequest) -> HttpResponse:
        data = read_object(request.body)
        only_known(data, ("username", "password", "otp"))
        username = _field(data, "username", longest=150)
        password = data.get("password", "")
        if type(password) is not str or not 0 < len(password) <= PASSWORD_LENGTH:
            raise missing("password") if "password" not in data else BadInput("password must be a string.", field="password")
        if "otp" in data:
            text("otp", data["otp"], longest=20)
        throttling.take("login", request.address)
        user = await run_in_thread(_log_in, username, password)
        refresh = _claims(RefreshToken(), user)
        return answer({"access": str(refresh.access_token), "refresh": str(refresh)})


class TokenRefreshView(ApiView):
    access = {"POST": NOBODY}

    @extend_schema(**schemas.REFRESH)
    async def post(self, request: ApiRequest) -> HttpResponse:
        data = read_object(request.body)
        only_known(data, ("refresh",))
        token = _field(data, "refresh", longest=4000)
        try:
            refresh: Any = RefreshToken(token)  # type: ignore[arg-type]
            user_id = int(refresh["user_id"])
        except ExpiredTokenError:
            raise auth.token_expired() from None
        except (TokenError, KeyError, TypeError, ValueError):
            raise Unauthenticated("This token is not valid.") from None
        access = _claims(refresh.access_token, await run_in_thread(_find, user_id))
        return answer({"access": str(access), "refresh": token})
