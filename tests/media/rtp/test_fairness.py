"""No call keeps the event loop for long, whatever the number of viewers."""

from media.rtp.fanout import MAX_BEHIND
from tests.support.rtp import (
    Deferred,
    Viewer,
    catch_up,
    nals,
    picture,
    video,
)


def test_a_frame_to_many_viewers_takes_several_turns() -> None:
    defer = Deferred()
    fanout = video(defer, turn=100)
    viewers = [Viewer() for _ in range(20)]
    fanout.on_unit(picture(0, size=1000))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    fanout.on_unit(picture(1, size=30_000))
    reached = sum(viewer.downlink.stats.packets > 2 for viewer in viewers)
    fanout.on_unit(picture(2))
    defer.run()

    assert reached == 4
    assert defer.turns == 5
    for viewer in viewers:
        viewer.receive()
        assert viewer.pictures() == [nals(0, size=1000), nals(1, size=30_000), nals(2)]


def test_a_viewer_may_leave_or_restart_while_a_frame_is_on_its_way() -> None:
    defer = Deferred()
    fanout = video(defer, turn=30)
    viewers = [Viewer() for _ in range(6)]
    fanout.on_unit(picture(0))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    fanout.on_unit(picture(1, size=30_000))
    fanout.remove(viewers[3].downlink)
    fanout.restart(viewers[4].downlink, now=2.0)
    late = Viewer()
    fanout.add(late.downlink, now=2.0)
    defer.run()
    catch_up(fanout, now=2.0)
    fanout.on_unit(picture(2))
    defer.run()

    for viewer in (*viewers, late):
        viewer.receive()
        assert viewer.missing() == []
    whole = [nals(0), nals(1, size=30_000), nals(2)]
    assert [viewer.pictures() for viewer in viewers[:3]] == [whole] * 3
    assert viewers[3].pictures() == whole[:1]
    assert viewers[4].pictures() == [whole[0], *whole]
    assert viewers[5].pictures() == whole
    assert late.pictures() == whole


def test_when_the_machine_cannot_keep_up_all_wait_for_a_keyframe() -> None:
    defer = Deferred()
    fanout = video(defer, turn=3)
    viewers = [Viewer(), Viewer()]
    fanout.on_unit(picture(0))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    for number in range(1, MAX_BEHIND + 10):
        fanout.on_unit(picture(number, every=1000))
    assert fanout.overruns == 1
    assert fanout.backlog <= MAX_BEHIND
    defer.run()
    fanout.on_unit(picture(1000, every=1000))
    defer.run()
    catch_up(fanout, now=9.0)
    defer.run()

    for viewer in viewers:
        viewer.receive()
        assert viewer.missing() == []
        assert viewer.pictures()[-1] == nals(1000, every=1000)


def test_many_who_join_at_once_share_the_turns() -> None:
    fanout = video(turn=50)
    viewers = [Viewer() for _ in range(10)]
    for number in range(10):
        fanout.on_unit(picture(number, size=20_000))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    fanout.handle_timer(now=1.0)
    assert fanout.next_timer() == 1.0
    catch_up(fanout, now=1.0)

    for viewer in viewers:
        viewer.receive()
        assert viewer.pictures() == [nals(number, size=20_000) for number in range(10)]
