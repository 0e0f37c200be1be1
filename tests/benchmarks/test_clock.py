"""Times in turns, and the most memory of a block."""

import numpy as np

from madn.benchmarks.clock import LEAST, PeakMemory, in_turns


def test_every_round_runs_each_call_in_order():
    said = []
    times = in_turns({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, repeats=5, seconds=60)
    assert said == ["a", "b"] * 5 and {name: len(each) for name, each in times.items()} == {"a": 5, "b": 5}
    assert min(times["a"] + times["b"]) >= 0


def test_no_round_starts_after_the_time_is_up_but_for_the_first_three():
    assert len(in_turns({"a": lambda: None}, repeats=50, seconds=-1)["a"]) == LEAST
    assert len(in_turns({"a": lambda: None}, repeats=2, seconds=-1)["a"]) == 2


def test_memory_that_is_given_back_within_the_block_counts():
    memory = PeakMemory()
    with memory:
        held = np.ones(10_000_000)
        held.sum()
        del held
    assert 60e6 < memory.bytes < 400e6
