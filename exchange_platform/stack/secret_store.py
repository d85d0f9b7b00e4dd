"""Secrets of one home, random, made once: losing them means that stored API-key secrets can no longer be read."""

import base64
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from exchange_platform.stack.errors import StackError
from exchange_platform.stack.stackfile import read_json, write_private_json


@dataclass(frozen=True, slots=True)
class HomeSecrets:
    secret_key: str
    field_encryption_key: str
    database_password: str
    redis_password: str


def load_or_make(home: Path) -> HomeSecrets:
    """Raises StackError when the file is there but incomplete: making new ones would lock the old data away."""
    path = home / "secrets.json"
    if path.exists():
        stored = read_json(path)
        try:
            return HomeSecrets(**{name: stored[name] for name in HomeSecrets.__slots__})
        except KeyError as missing:
            raise StackError(f"{path} lacks {missing}. Restore it, or choose a new STACK_HOME.") from None
    made = HomeSecrets(
        secret_key=secrets.token_urlsafe(48),
        field_encryption_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        database_password=secrets.token_hex(24),
        redis_password=secrets.token_hex(24),
    )
    write_private_json(path, asdict(made))
    return made
