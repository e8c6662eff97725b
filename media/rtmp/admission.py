"""How many connections may be open, and how many of one address half-open."""

from collections import Counter
from ipaddress import ip_address, ip_network


class Admission:
    """Half-open is what does not publish (yet). One address is an IPv4 address or an IPv6 /64."""

    def __init__(self, *, max_half_open_per_address: int, max_connections: int) -> None:
        self._max_half_open = max_half_open_per_address
        self._max_connections = max_connections
        self._half_open: Counter[str] = Counter()
        self._refusing: set[str] = set()
        self.connections = 0

    def admit(self, address: str) -> bool:
        """Counts one more half-open connection, unless that would be one too many."""
        if (
            self.connections >= self._max_connections
            or self._half_open[address] >= self._max_half_open
        ):
            return False
        self._refusing.discard(address)
        self.connections += 1
        self._half_open[address] += 1
        return True

    def first_refusal(self, address: str) -> bool:
        """True once until the address is let in again: a flood must not flood the log."""
        if address in self._refusing or len(self._refusing) >= self._max_connections:
            return False
        self._refusing.add(address)
        return True

    def promote(self, address: str) -> None:
        """A half-open connection has become a publisher."""
        self._half_open[address] -= 1
        if self._half_open[address] <= 0:
            del self._half_open[address]

    def demote(self, address: str) -> None:
        """A publisher has stopped, and its connection is half-open again."""
        self._half_open[address] += 1

    def leave(self, address: str) -> None:
        """A half-open connection is gone."""
        self.promote(address)
        self.connections -= 1

    def half_open(self, address: str) -> int:
        return self._half_open.get(address, 0)


def counted_address(host: str) -> str:
    """The address of `getpeername` as it is counted."""
    address = ip_address(host.partition("%")[0])
    return host if address.version == 4 else str(ip_network((address, 64), strict=False))
