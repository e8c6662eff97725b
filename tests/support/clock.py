"""Time that a test moves by hand."""


class FakeClock:
    """Monotonic time from `at`; wall time is a fixed distance from it."""

    def __init__(self, at: float = 1000.0, *, wall: float = 1_800_000_000.0) -> None:
        self.now = at
        self._wall_offset = wall - at

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self._wall_offset

    def advance(self, seconds: float) -> None:
        self.now += seconds
