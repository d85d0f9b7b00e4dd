"""Who stands behind which account: accounts of one beneficial owner, and accounts that compliance linked, are one."""

from collections.abc import Iterable, Mapping


def owners(beneficial: Mapping[int, str], links: Iterable[tuple[int, int]] = ()) -> dict[int, int]:
    """Account → the lowest account of its group, for accounts that are grouped with another; links carry on (a–b and b–c are one group).

    `beneficial`: account → name of its beneficial owner; empty names and names compared without case and outer blanks.
    """
    root: dict[int, int] = {}

    def find(account: int) -> int:
        while (above := root.get(account, account)) != account:
            root[account] = root.get(above, above)
            account = above
        return account

    def join(one: int, other: int) -> None:
        low, high = sorted((find(one), find(other)))
        root[high] = low
        root.setdefault(low, low)

    first_of: dict[str, int] = {}
    for account, name in beneficial.items():
        known = " ".join(name.casefold().split())
        if known:
            join(first_of.setdefault(known, account), account)
    for one, other in links:
        join(one, other)
    groups = {account: find(account) for account in root}
    sizes: dict[int, int] = {}
    for owner in groups.values():
        sizes[owner] = sizes.get(owner, 0) + 1
    return {account: owner for account, owner in groups.items() if sizes[owner] > 1}
