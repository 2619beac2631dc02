"""The picture of agreement over time (C12)."""

from datetime import UTC, datetime, timedelta

from reconciliation.chart import FOOT, HEIGHT, LEFT, LINE_FOOT, RIGHT, TOP, WIDTH, Moment, draw

START = datetime(2026, 3, 1, tzinfo=UTC)


def moments(*figures: tuple[int, float, int]) -> list[Moment]:
    return [Moment(START + timedelta(days=day), agreement, unequal) for day, agreement, unequal in figures]


def test_one_comparison_is_no_picture():
    assert draw([]) is None and draw(moments((0, 99.0, 1))) is None


def test_points_stand_by_their_time_and_share():
    chart = draw(moments((0, 90.0, 10), (1, 95.0, 5), (4, 100.0, 0)))
    assert chart is not None
    assert [dot.x for dot in chart.dots] == [LEFT, LEFT + (WIDTH - LEFT - RIGHT) / 4, WIDTH - RIGHT]
    assert [dot.y for dot in chart.dots] == [LINE_FOOT, (LINE_FOOT + TOP) / 2, TOP]
    assert [words for _, words in chart.ticks] == ["90 %", "95 %", "100 %"]
    assert chart.line.startswith(f"{chart.dots[0].x},{chart.dots[0].y} ")


def test_bars_tell_how_many_do_not_agree():
    chart = draw(moments((0, 90.0, 10), (1, 95.0, 5), (2, 100.0, 0)))
    assert chart is not None and chart.most == 10
    first, second, third = (dot.bar for dot in chart.dots)
    assert first == 2 * second and third == 0
    assert all(dot.bar_y + dot.bar == FOOT for dot in chart.dots)


def test_a_wobble_is_no_mountain_and_everything_stays_in_the_picture():
    chart = draw(moments((0, 99.99, 1), (1, 99.98, 2), (1, 100.0, 0)))
    assert chart is not None
    assert max(dot.y for dot in chart.dots) - min(dot.y for dot in chart.dots) < 2
    assert draw(moments((0, 0.0, 10**6), (0, 0.0, 10**6))) is not None
    for dot in chart.dots:
        assert 0 <= dot.x <= WIDTH and 0 <= dot.y <= HEIGHT and 0 <= dot.bar_y <= HEIGHT
