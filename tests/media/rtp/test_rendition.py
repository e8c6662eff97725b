"""A viewer moves from one rendition of a stream to another."""

from tests.support.rtp import (
    Clock,
    Viewer,
    catch_up,
    frames,
    nals,
    picture,
    steps,
    video,
)


def test_a_viewer_moves_to_another_rendition_at_its_keyframe() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    rendition.on_unit(picture(0, size=500))
    source.add(viewer.downlink, now=0.0)

    rendition.take_over(viewer.downlink, source, now=0.0)
    for number in range(1, 35):
        source.on_unit(picture(number))
        rendition.on_unit(picture(number, size=500))

    viewer.receive()
    assert viewer.missing() == []
    # The source's own keyframe had left before the rendition's came.
    assert viewer.pictures() == [
        *(nals(number) for number in range(31)),
        *(nals(number, size=500) for number in range(30, 35)),
    ]
    assert all(step > 0 for step in steps(viewer) if step)
    assert (source.viewers, rendition.viewers) == (0, 1)


def test_a_rendition_that_lags_does_not_turn_time_back() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)
    rendition.take_over(viewer.downlink, source, now=0.0)

    for number in range(1, 45):
        source.on_unit(picture(number))
        if number >= 4:
            rendition.on_unit(picture(number - 4, size=500))

    viewer.receive()
    times = [frame[0].timestamp for frame in frames(viewer.ordered())]
    assert times == sorted(set(times))
    assert viewer.missing() == []
    assert viewer.pictures()[-1] == nals(40, size=500)
    assert times[-1] == 40 * 3000


def test_a_viewer_moves_at_once_when_the_other_rendition_has_ended() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    for number in range(5):
        source.on_unit(picture(number))
        rendition.on_unit(picture(number, size=500))
    source.add(viewer.downlink, now=0.0)
    catch_up(source, now=0.0)

    rendition.take_over(viewer.downlink, source, now=1.0, at_once=True)
    catch_up(rendition, now=1.0)

    viewer.receive()
    assert viewer.pictures() == [
        *(nals(number) for number in range(5)),
        *(nals(number, size=500) for number in range(5)),
    ]


def test_a_change_of_mind_before_the_keyframe_comes() -> None:
    source, second, third, viewer = video(), video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)

    second.take_over(viewer.downlink, source, now=0.0)
    third.take_over(viewer.downlink, second, now=0.0)
    second.on_unit(picture(30))
    source.on_unit(picture(1))
    third.on_unit(picture(30))
    source.on_unit(picture(2))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(1), nals(30)]
    assert (source.viewers, second.viewers, third.viewers) == (0, 0, 1)


def test_back_again_before_the_keyframe_comes() -> None:
    source, second, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)

    second.take_over(viewer.downlink, source, now=0.0)
    source.take_over(viewer.downlink, second, now=0.0)
    second.on_unit(picture(30))
    source.on_unit(picture(1))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(1)]


def test_a_viewer_is_sent_by_one_fanout_at_a_time() -> None:
    source, second, third, viewer = video(), video(), video(), Viewer()
    for fanout in (source, second, third):
        fanout.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)

    second.take_over(viewer.downlink, source, now=0.0)
    third.take_over(viewer.downlink, second, now=1.0, at_once=True)
    source.on_unit(picture(1))
    third.on_unit(picture(1))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(0), nals(1)]
    assert (source.viewers, third.viewers) == (0, 1)


def test_a_viewer_who_left_does_not_arrive_elsewhere() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)
    rendition.take_over(viewer.downlink, source, now=0.0)
    viewer.sink.take()

    source.remove(viewer.downlink)
    rendition.on_unit(picture(0))

    assert viewer.sink.datagrams == []
    assert rendition.viewers == 0


def test_a_viewer_who_moved_lets_go_of_the_track_it_left() -> None:
    """What can no longer be asked for would keep the cache of an ended track in memory."""
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    rendition.on_unit(picture(0, size=500))
    source.add(viewer.downlink, now=0.0)
    rendition.take_over(viewer.downlink, source, now=1.0, at_once=True)

    viewer.downlink.on_nack((100,), now=1.1)
    for report in range(3):
        rendition.on_unit(picture(report + 1, size=500))
        viewer.downlink.send_report(now=101.5 * report, clock=Clock())
    viewer.downlink.on_nack((101,), now=4.0)
    newest = 100 + viewer.downlink.stats.packets - 1
    viewer.downlink.on_nack((newest,), now=4.0)

    assert viewer.downlink.stats.retransmitted == 2
