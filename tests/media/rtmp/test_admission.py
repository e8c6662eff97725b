from media.rtmp.admission import Admission, counted_address


def test_half_open_connections_of_an_address_are_capped() -> None:
    admission = Admission(max_half_open_per_address=2, max_connections=10)
    assert [admission.admit("a") for _ in range(3)] == [True, True, False]
    assert admission.admit("b")

    admission.promote("a")
    assert admission.admit("a")
    assert not admission.admit("a")

    admission.leave("a")
    assert admission.admit("a")
    admission.demote("a")
    assert not admission.admit("a")
    assert admission.half_open("a") == 3


def test_all_connections_are_capped() -> None:
    admission = Admission(max_half_open_per_address=2, max_connections=2)
    assert [admission.admit(address) for address in "abc"] == [True, True, False]

    admission.leave("a")

    assert admission.admit("c")
    assert admission.connections == 2


def test_a_refusal_is_told_once_until_the_address_is_let_in() -> None:
    admission = Admission(max_half_open_per_address=1, max_connections=10)
    admission.admit("a")
    assert [admission.first_refusal("a") for _ in range(3)] == [True, False, False]

    admission.leave("a")
    admission.admit("a")

    assert admission.first_refusal("a")


def test_ipv6_is_counted_by_network() -> None:
    assert counted_address("192.0.2.7") == "192.0.2.7"
    assert counted_address("2001:db8::1") == counted_address("2001:db8::ffff")
    assert counted_address("fe80::1%eth0") == "fe80::/64"
