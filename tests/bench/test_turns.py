"""Functions timed in turn, by a clock that they set forward themselves."""

from edgec.bench import turns


def test_the_least_time_of_each_is_found_and_everyone_has_its_turn(monkeypatch):
    now, order = [0.0], []
    monkeypatch.setattr(turns.time, "thread_time", lambda: now[0])

    def takes(name: str, *seconds: float):
        def call() -> None:
            order.append(name)
            now[0] += seconds[order.count(name) % len(seconds)]
        return call

    least = turns.least_times([takes("a", 0.03, 0.05), takes("b", 0.1)])
    assert [round(t, 6) for t in least] == [0.03, 0.1]
    assert order == ["a", "b"] * (1 + turns.ROUNDS)
