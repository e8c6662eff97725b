"""How many handshakes an address may have under way at a time."""


class HalfOpen:
    """Counts peers that have passed a check but not finished their handshake, by source address."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_host: dict[str, set[object]] = {}
        self._host_of: dict[object, str] = {}

    def admits(self, host: str, peer: object) -> bool:
        """Whether this peer may go on; always true for one that has entered before."""
        return peer in self._host_of or len(self._by_host.get(host, ())) < self._limit

    def enter(self, host: str, peer: object) -> None:
        if peer not in self._host_of:
            self._host_of[peer] = host
            self._by_host.setdefault(host, set()).add(peer)

    def leave(self, peer: object) -> None:
        """Its handshake is done, or it is gone."""
        host = self._host_of.pop(peer, None)
        if host is None:
            return
        peers = self._by_host[host]
        peers.discard(peer)
        if not peers:
            del self._by_host[host]

    def __len__(self) -> int:
        return len(self._host_of)
