import struct

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from media.webrtc import stun
from media.webrtc.ice import (
    CONSENT_TIMEOUT,
    FIRST_CHECK_TIMEOUT,
    MAX_PATHS,
    ConsentExpired,
    Credentials,
    IceAgent,
    Path,
    PathSelected,
)
from media.webrtc.stun import Attribute, MessageClass
from tests.support.webrtc import check

LOCAL = Credentials("serverufrag", "serverpasswordserverpassword")
CLIENT = "clnt"
WIFI = Path("192.0.2.1", 1111)
MOBILE = Path("198.51.100.1", 2222)


def agent() -> IceAgent:
    return IceAgent(LOCAL, CLIENT, now=0.0)


def ask(
    ice: IceAgent,
    path: Path,
    *,
    now: float = 0.0,
    nominate: bool = False,
    priority: int = 1,
    transaction_id: bytes | None = None,
) -> None:
    data = check(LOCAL, CLIENT, nominate=nominate, priority=priority, transaction_id=transaction_id)
    assert ice.receive(stun.parse(data), path, now=now)


def answer(ice: IceAgent) -> tuple[Path, stun.Message]:
    ((path, data),) = ice.data_to_send()
    return path, stun.parse(data)


def test_every_pair_is_answered_where_it_asked() -> None:
    ice = agent()
    for path in (WIFI, MOBILE):
        ask(ice, path)

        answered, message = answer(ice)
        assert answered == path
        assert message.message_class is MessageClass.SUCCESS
        assert message.is_authentic(LOCAL.password.encode())
        assert message.get(Attribute.XOR_MAPPED_ADDRESS) == stun.xor_mapped_address(
            path.host, path.port, message.transaction_id
        )


def test_only_a_nomination_selects() -> None:
    ice = agent()
    ask(ice, WIFI)
    ask(ice, MOBILE)
    assert ice.selected is None

    ask(ice, WIFI, nominate=True)

    assert ice.next_event() == PathSelected(WIFI)
    assert ice.selected == WIFI


def test_newer_checks_without_nomination_move_nothing() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True)
    assert ice.next_event() == PathSelected(WIFI)

    for second in range(1, 20):
        ask(ice, MOBILE, now=float(second), priority=99)

    assert ice.selected == WIFI
    assert ice.next_event() is None


def test_a_later_nomination_moves() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True)
    ask(ice, MOBILE, nominate=True)

    assert ice.selected == MOBILE


def test_a_worse_path_is_taken_when_only_it_goes_on_being_nominated() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True, priority=9)
    ask(ice, MOBILE, nominate=True, priority=5)
    assert ice.selected == WIFI

    ask(ice, MOBILE, nominate=True, priority=5)

    assert ice.selected == MOBILE


def test_nominations_in_turns_stay_with_the_best() -> None:
    ice = agent()
    for _ in range(10):
        ask(ice, WIFI, nominate=True, priority=9)
        ask(ice, MOBILE, nominate=True, priority=5)

    assert ice.selected == WIFI


def test_a_repeated_datagram_does_not_nominate_twice() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True, priority=9)
    for _ in range(3):
        ask(ice, MOBILE, nominate=True, priority=5, transaction_id=b"same request")

    assert ice.selected == WIFI


def test_consent_expires_after_silence_and_not_before() -> None:
    ice = agent()
    ask(ice, WIFI, now=5.0, nominate=True)
    ice.next_event()
    assert ice.next_timer() == 5.0 + CONSENT_TIMEOUT

    ice.handle_timer(now=5.0 + CONSENT_TIMEOUT - 0.001)
    assert ice.next_event() is None

    ice.handle_timer(now=5.0 + CONSENT_TIMEOUT)
    assert ice.next_event() == ConsentExpired(ever=True)
    assert ice.next_timer() is None


def test_consent_is_kept_by_any_pair() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True)
    for second in range(10, 100, 10):
        ask(ice, MOBILE, now=float(second))
        ice.handle_timer(now=float(second))

    assert ice.next_timer() == 90.0 + CONSENT_TIMEOUT


def test_a_client_that_never_checks_is_given_up_soon() -> None:
    ice = agent()

    ice.handle_timer(now=FIRST_CHECK_TIMEOUT)

    assert ice.next_event() == ConsentExpired(ever=False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (check(LOCAL, CLIENT, password="wrongwrongwrongwrongwrong"), 401),
        (check(LOCAL, "other"), 401),
        (check(Credentials("other", LOCAL.password), CLIENT), 401),
        (stun.build(MessageClass.REQUEST, bytes(12)), 400),
        (check(LOCAL, CLIENT, extra=((0x7777, b"?"),)), 420),
        (check(LOCAL, CLIENT, extra=((Attribute.ICE_CONTROLLED, bytes(8)),)), 487),
    ],
)
def test_refused_checks_change_nothing(data: bytes, code: int) -> None:
    ice = agent()

    assert not ice.receive(stun.parse(data), WIFI, now=1.0)

    _, message = answer(ice)
    assert message.message_class is MessageClass.ERROR
    value = message.get(Attribute.ERROR_CODE)
    assert value is not None
    assert value[2] * 100 + value[3] == code
    assert not ice.knows(WIFI)
    assert ice.last_consent is None
    assert ice.next_timer() == FIRST_CHECK_TIMEOUT


def test_unknown_attributes_are_named() -> None:
    ice = agent()
    ice.receive(stun.parse(check(LOCAL, CLIENT, extra=((0x7777, b"?"),))), WIFI, now=0.0)

    _, message = answer(ice)

    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == struct.pack("!H", 0x7777)


@pytest.mark.parametrize("kind", [MessageClass.INDICATION, MessageClass.SUCCESS])
def test_indications_and_stray_responses_are_passed_over(kind: MessageClass) -> None:
    ice = agent()
    data = stun.build(kind, bytes(12), password=LOCAL.password.encode())

    assert not ice.receive(stun.parse(data), WIFI, now=0.0)
    assert ice.data_to_send() == []


def test_paths_are_bounded_and_the_selected_one_is_kept() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True)
    for port in range(1, 10 * MAX_PATHS):
        ask(ice, Path("203.0.113.1", port))

    assert ice.knows(WIFI)
    assert sum(ice.knows(Path("203.0.113.1", p)) for p in range(1, 10 * MAX_PATHS)) < MAX_PATHS


def test_a_restart_goes_on_with_the_old_path_until_the_new_credentials_nominate() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True)
    renewed = Credentials("renewed", "renewedpasswordrenewedpassword")
    ice.restart(renewed, "clnt2")
    assert ice.selected == WIFI
    assert set(ice.ufrags) == {"renewed", LOCAL.ufrag}

    ask(ice, WIFI)  # With the old credentials.
    assert ice.receive(
        stun.parse(check(renewed, "clnt2", nominate=True, priority=0)), MOBILE, now=1.0
    )

    assert ice.selected == MOBILE
    assert ice.ufrags == ("renewed",)
    assert not ice.receive(stun.parse(check(LOCAL, CLIENT)), WIFI, now=2.0)


def test_a_lost_connection_is_no_longer_selected() -> None:
    ice = agent()
    ask(ice, WIFI, nominate=True)

    ice.path_lost(WIFI)

    assert ice.selected is None
    ask(ice, MOBILE, nominate=True, priority=0)
    assert ice.selected == MOBILE


def test_generated_credentials_are_long_enough_and_differ() -> None:
    made = [Credentials.generate() for _ in range(50)]

    assert len({c.ufrag for c in made}) == len({c.password for c in made}) == 50
    assert all(len(c.ufrag) >= 8 and len(c.password) >= 22 for c in made)


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_garbage_that_is_stun_never_selects(blobs: list[bytes]) -> None:
    ice = agent()
    for blob in blobs:
        data = stun.build(MessageClass.REQUEST, bytes(12), ((Attribute.USERNAME, blob),))
        assert not ice.receive(stun.parse(data), WIFI, now=0.0)

    assert ice.selected is None


class AgentMachine(RuleBasedStateMachine):
    """Whatever is asked from wherever: only paths that were nominated are ever selected, and the
    deadline is the last authentic check plus the timeout."""

    def __init__(self) -> None:
        super().__init__()
        self.ice = agent()
        self.now = 0.0
        self.nominated: set[Path] = set()
        self.last: float | None = None

    @rule(port=st.integers(1, 4), nominate=st.booleans(), priority=st.integers(0, 3))
    def asked(self, port: int, nominate: bool, priority: int) -> None:
        path = Path("192.0.2.1", port)
        ask(self.ice, path, now=self.now, nominate=nominate, priority=priority)
        self.ice.data_to_send()
        self.last = self.now
        if nominate:
            self.nominated.add(path)

    @rule(port=st.integers(1, 4))
    def forged(self, port: int) -> None:
        data = check(LOCAL, CLIENT, nominate=True, password="x" * 22)
        assert not self.ice.receive(stun.parse(data), Path("192.0.2.1", port), now=self.now)
        self.ice.data_to_send()

    @rule(seconds=st.floats(0.1, 9.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.ice.handle_timer(now=self.now)

    @rule(port=st.integers(1, 4))
    def lost(self, port: int) -> None:
        path = Path("192.0.2.1", port)
        self.ice.path_lost(path)
        self.nominated.discard(path)

    @invariant()
    def selected_was_nominated(self) -> None:
        assert self.ice.selected is None or self.ice.selected in self.nominated

    @invariant()
    def deadline_follows_consent(self) -> None:
        deadline = self.ice.next_timer()
        if deadline is not None:
            expected = FIRST_CHECK_TIMEOUT if self.last is None else self.last + CONSENT_TIMEOUT
            assert deadline == expected


TestAgentMachine = AgentMachine.TestCase
