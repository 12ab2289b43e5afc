"""Drawings: edges run downwards, boxes do not meet, bends keep long edges out of boxes."""

import itertools

from hypothesis import given, strategies as st

from edgec.graph_drawing import HEIGHT, WIDTH, draw


def edges(count):
    pairs = [(a, b) for b in range(count) for a in range(b)]
    return st.sets(st.sampled_from(pairs), max_size=2 * count) if pairs else st.just(set())


@given(st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), edges(n))))
def test_drawings_are_readable(graph):
    count, arrows = graph
    drawing = draw(count, arrows)
    assert len(drawing.boxes) == count and len(drawing.lines) == len(arrows)
    for n, (x, y) in enumerate(drawing.boxes):
        assert 0 <= x and x + WIDTH <= drawing.width and 0 <= y and y + HEIGHT <= drawing.height
        for other_x, other_y in drawing.boxes[:n]:
            assert abs(y - other_y) >= HEIGHT or abs(x - other_x) >= WIDTH
    for points in drawing.lines:
        assert all(a[1] < b[1] or a[0] == b[0] for a, b in itertools.pairwise(points))
        for x, y in points[1:-1]:
            assert not any(left < x < left + WIDTH and top < y < top + HEIGHT for left, top in drawing.boxes)


def test_a_chain_is_a_column():
    drawing = draw(4, {(0, 1), (1, 2), (2, 3)})
    assert len({x for x, _ in drawing.boxes}) == 1 and [y for _, y in drawing.boxes] == sorted(y for _, y in drawing.boxes)


def test_an_edge_over_layers_goes_round_the_box_between():
    drawing = draw(3, {(0, 1), (1, 2), (0, 2)})
    long, = (line for line in drawing.lines if len(line) > 2)
    assert all(not (drawing.boxes[1][0] < x < drawing.boxes[1][0] + WIDTH) for x, _ in long[1:-1])
