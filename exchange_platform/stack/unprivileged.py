"""PostgreSQL refuses to run as root. Started as root, it runs as an unprivileged user who must reach its folders."""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from exchange_platform.stack.errors import StackError
from exchange_platform.stack.processes import Identity

USER = "pgserver"


def database_identity() -> Identity | None:
    """None when this process is not root. Makes the user when it is missing; `nobody` where it cannot be made."""
    if os.geteuid() != 0:
        return None
    if (found := _lookup(USER)) is None and (useradd := shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")):
        subprocess.run(
            [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", USER],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        found = _lookup(USER)
    found = found or _lookup("nobody")
    if found is None:
        raise StackError(
            "PostgreSQL does not run as root, and neither user pgserver nor nobody exists. Create one: useradd --system pgserver"
        )
    return found


def _lookup(user: str) -> Identity | None:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return Identity(user=user, uid=entry.pw_uid, gid=entry.pw_gid)


def open_way(target: Path, identity: Identity, tell: Callable[[str], None]) -> None:
    """Gives the right to pass (not to list) on each folder above `target` that the user cannot pass through, and says so."""
    for folder in reversed(target.resolve().parents):
        mode = folder.stat()
        if mode.st_uid == identity.uid:
            bit = stat.S_IXUSR
        elif mode.st_gid == identity.gid:
            bit = stat.S_IXGRP
        else:
            bit = stat.S_IXOTH
        if mode.st_mode & bit:
            continue
        try:
            folder.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH | bit)
        except OSError as problem:
            raise StackError(f"User {identity.user}, who runs PostgreSQL, cannot pass through {folder}: {problem.strerror}.") from None
        tell(f"{folder} may now be passed through (not listed) by user {identity.user}, who runs PostgreSQL")


def open_tree(root: Path) -> None:
    """Makes installed program files readable for everyone, as they are where the umask is the usual one."""
    for folder, _, files in os.walk(root):
        _add_mode(Path(folder), 0o055)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                _add_mode(path, 0o055 if path.stat().st_mode & stat.S_IXUSR else 0o044)


def _add_mode(path: Path, bits: int) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & bits != bits:
        path.chmod(mode | bits)


def give(path: Path, identity: Identity) -> None:
    """Hands a folder and everything in it to the user."""
    for folder, _, files in os.walk(path):
        for entry in (folder, *(os.path.join(folder, name) for name in files)):
            if os.lstat(entry).st_uid != identity.uid:
                os.lchown(entry, identity.uid, identity.gid)
