"""The benches of the way on which questions travel, small and with real processes."""

from pathlib import Path

import pytest
from rich.console import Console

from simulations.benchmarks.transport import rounds
from simulations.benchmarks.transport.rounds import RoundOverhead, Turn


def turn(way: str, start: str, seconds: float) -> Turn:
    return Turn(way=way, start=start, asked=2, came=2, seconds=seconds)


def test_the_ratio_is_of_medians_and_of_flowers_own_way_on_its_own_nodes() -> None:
    theirs = [turn("flower", "usual", seconds) for seconds in (6.0, 9.0, 100.0)]
    between = [turn("ours", "usual", 5.0)] * 3
    ours = [turn("ours", "quick", seconds) for seconds in (1.0, 3.0, 4.0)]

    measured = RoundOverhead(sites=2, turns=(*theirs, *between, *ours))

    assert measured.ratio == 3.0
    assert "| 9.00 | 6.00 to 100.00 |" in rounds.table(measured)
    assert "Ratio: **3.0**" in rounds.table(measured)


@pytest.mark.slow
def test_rounds_are_measured_with_real_processes(tmp_path: Path) -> None:
    measured = rounds.measure(tmp_path, sites=1, rounds=1, console=Console(quiet=True))

    assert sorted((one.way, one.start) for one in measured.turns) == sorted(rounds.NAMES)
    assert all(one.came == 1 for one in measured.turns)
    assert all(one.seconds > 0 for one in measured.turns)
