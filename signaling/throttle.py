"""Slows down the guessing of passwords. No clock of its own.

Every attempt is counted *before* the password is looked at, so attempts side by side do not slip
through together; a right password takes its counts back. Three counts are kept, each with some free
attempts and then a wait that doubles:

| count | free | longest wait | against |
|---|---|---|---|
| account from one address | 5 | 15 min | guessing one password |
| address | 20 | 15 min | trying one password on many accounts |
| account | 50 | 1 min | guessing from many addresses |

The last one could lock an owner out, hence the short wait; and an address from which the account
has been signed in to before is exempt from it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

REMEMBERED: Final = 10_000
"""How many counts are kept; past that the ones not used for longest go."""

FORGET_AFTER: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Limit:
    free: int
    longest_wait: float


@dataclass(slots=True)
class _Count:
    attempts: int = 0
    open_at: float = 0.0
    last: float = 0.0


_PAIR: Final = _Limit(5, 900.0)
_ADDRESS: Final = _Limit(20, 900.0)
_ACCOUNT: Final = _Limit(50, 60.0)


class LoginThrottle:
    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], _Count] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def remembered(self) -> int:
        return len(self._counts)

    def attempt(self, account: str, address: str, *, now: float) -> float:
        """Counts an attempt. 0: go on; otherwise the seconds to wait, and nothing was counted."""
        limits = [((account, address), _PAIR), (("", address), _ADDRESS)]
        if (account, address) not in self._known:
            limits.append(((account, ""), _ACCOUNT))
        counts = [(self._count(key, now), limit) for key, limit in limits]
        wait = max(count.open_at for count, _ in counts) - now
        if wait > 0:
            return wait
        for count, limit in counts:
            count.attempts += 1
            count.last = now
            excess = count.attempts - limit.free
            if excess >= 0:
                count.open_at = now + min(limit.longest_wait, 2.0 ** min(excess, 30))
        return 0.0

    def succeeded(self, account: str, address: str) -> None:
        self._counts.pop((account, address), None)
        for key in (("", address), (account, "")):
            count = self._counts.get(key)
            if count is not None:
                count.attempts -= 1
                count.open_at = 0.0
        self._known[account, address] = None
        self._known.move_to_end((account, address))
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _count(self, key: tuple[str, str], now: float) -> _Count:
        count = self._counts.get(key)
        if count is None or now - count.last > FORGET_AFTER:
            count = self._counts[key] = _Count(last=now)
        self._counts.move_to_end(key)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return count
