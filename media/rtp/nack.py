"""Which lost packets to send again (RFC 4585 section 6.2.1), seen from the sender.

A viewer asks again every few milliseconds until a packet arrives. An answer that is still under way
is not doubled, and a packet that never gets through is given up.
"""

from typing import Final

MAX_ANSWERS: Final = 5
"""How often one packet is sent again."""

MIN_INTERVAL: Final = 0.010
MAX_INTERVAL: Final = 0.250
"""Seconds between two answers for one packet: a round trip, within these bounds."""

DEFAULT_INTERVAL: Final = 0.030
"""While the round trip is not known yet."""

MAX_TRACKED: Final = 1024


class NackSuppressor:
    """Remembers the newest answers, `MAX_TRACKED` of them; what is forgotten counts as new."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: dict[int, tuple[float, int]] = {}

    def admit(self, index: int, *, now: float, round_trip: float | None) -> bool:
        """Whether to send the packet again now; `round_trip` in seconds, None when unknown."""
        interval = DEFAULT_INTERVAL
        if round_trip is not None:
            interval = min(max(round_trip, MIN_INTERVAL), MAX_INTERVAL)
        last, answers = self._answers.pop(index, (-interval, 0))
        admitted = answers < MAX_ANSWERS and (answers == 0 or now - last >= interval)
        # Taken out and put back, so that the dictionary's order is that of the latest asking.
        self._answers[index] = (now, answers + 1) if admitted else (last, answers)
        if len(self._answers) > MAX_TRACKED:
            del self._answers[next(iter(self._answers))]
        return admitted
