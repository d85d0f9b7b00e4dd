"""The log-in form of the admin: the right decides, not a flag."""

from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm


class LoginForm(AuthenticationForm):
    """Lets in whoever has the right `back_office`; a trader with the right password learns no more than one with the wrong one."""

    def confirm_login_allowed(self, user: object) -> None:
        if not user.has_perm("back_office"):  # type: ignore[attr-defined]
            raise ValidationError(self.error_messages["invalid_login"], code="invalid_login", params={"username": "username"})
