"""Guessing is slowed; people are not."""

from hypothesis import given, strategies as st

from signaling.throttle import REMEMBERED, LoginThrottle


def failures(throttle: LoginThrottle, account: str, address: str, count: int, now: float) -> float:
    wait = 0.0
    for _ in range(count):
        wait = throttle.attempt(account, address, now=now)
    return wait


def test_waits_double_up_to_the_longest() -> None:
    throttle = LoginThrottle()
    assert failures(throttle, "ada", "a", 5, 0.0) == 0.0

    waits = []
    now = 0.0
    for _ in range(14):
        wait = throttle.attempt("ada", "a", now=now)
        waits.append(wait)
        now += wait
        assert throttle.attempt("ada", "a", now=now) == 0.0

    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waits[-1] == 900.0


def test_a_right_password_takes_the_counts_back() -> None:
    throttle = LoginThrottle()
    failures(throttle, "ada", "a", 4, 0.0)

    throttle.succeeded("ada", "a")

    assert failures(throttle, "ada", "a", 5, 0.0) == 0.0


def test_many_accounts_from_one_address_are_slowed() -> None:
    throttle = LoginThrottle()

    waits = [throttle.attempt(f"user{n}", "a", now=0.0) for n in range(30)]

    assert waits[:20] == [0.0] * 20
    assert min(waits[20:]) > 0
    assert throttle.attempt("user0", "b", now=0.0) == 0.0


def test_one_account_from_many_addresses_is_slowed_but_not_for_its_owner() -> None:
    throttle = LoginThrottle()
    throttle.attempt("ada", "home", now=0.0)
    throttle.succeeded("ada", "home")

    waits = [throttle.attempt("ada", f"bot{n}", now=0.0) for n in range(60)]

    assert waits[-1] > 0
    assert max(waits) <= 60.0
    assert throttle.attempt("ada", "home", now=0.0) == 0.0


@given(st.lists(st.tuples(st.text("ab", max_size=2), st.text("xy", max_size=2), st.floats(0, 99))))
def test_no_more_than_the_free_attempts_pass_at_one_moment(
    attempts: list[tuple[str, str, float]],
) -> None:
    throttle = LoginThrottle()
    for account, address, now in sorted(attempts, key=lambda attempt: attempt[2]):
        throttle.attempt(account, address, now=now)

    passed = sum(throttle.attempt("c", "z", now=100.0) == 0.0 for _ in range(50))

    assert passed == 5


def test_memory_is_bounded() -> None:
    throttle = LoginThrottle()

    for n in range(REMEMBERED):
        throttle.attempt(f"user{n}", f"address{n}", now=0.0)

    assert throttle.remembered <= REMEMBERED
