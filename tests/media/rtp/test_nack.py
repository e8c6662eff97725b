"""When a lost packet is sent again."""

from media.rtp.nack import DEFAULT_INTERVAL, MAX_ANSWERS, MAX_TRACKED, NackSuppressor


def test_answers_once_in_a_round_trip() -> None:
    suppressor = NackSuppressor()

    assert suppressor.admit(7, now=0.0, round_trip=0.1)
    assert not suppressor.admit(7, now=0.05, round_trip=0.1)
    assert suppressor.admit(7, now=0.11, round_trip=0.1)


def test_packets_are_judged_apart() -> None:
    suppressor = NackSuppressor()

    assert suppressor.admit(7, now=0.0, round_trip=None)
    assert suppressor.admit(8, now=0.0, round_trip=None)
    assert not suppressor.admit(7, now=DEFAULT_INTERVAL / 2, round_trip=None)


def test_gives_a_packet_up_after_some_answers() -> None:
    suppressor = NackSuppressor()

    answers = [suppressor.admit(7, now=float(second), round_trip=0.1) for second in range(20)]

    assert answers == [True] * MAX_ANSWERS + [False] * (20 - MAX_ANSWERS)


def test_a_round_trip_of_nothing_does_not_double_every_answer() -> None:
    suppressor = NackSuppressor()

    assert suppressor.admit(7, now=0.0, round_trip=0.0)
    assert not suppressor.admit(7, now=0.001, round_trip=0.0)


def test_remembers_the_newest_ones_only() -> None:
    suppressor = NackSuppressor()
    for index in range(MAX_TRACKED + 1):
        assert suppressor.admit(index, now=0.0, round_trip=0.2)

    assert not suppressor.admit(MAX_TRACKED, now=0.0, round_trip=0.2)
    assert suppressor.admit(0, now=0.0, round_trip=0.2)
