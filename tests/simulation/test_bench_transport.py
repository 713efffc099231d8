"""The benches of the way on which questions travel, small and with real processes."""

from pathlib import Path

import pytest
from rich.console import Console

from simulations.benchmarks.transport import large_block, rounds
from simulations.benchmarks.transport.large_block import LargeBlock, Trip
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


def test_a_large_block_is_measured_in_both_ways_with_the_memory_of_every_process(tmp_path: Path) -> None:
    trips = [
        Trip(
            way=name, seconds=seconds, mebibytes=500, own=dict.fromkeys(large_block.PROCESSES, 100.0),
            resident=dict.fromkeys(large_block.PROCESSES, 200.0),
        )
        for name, seconds in zip(large_block.WAYS, (40.0, 30.0, 20.0, 10.0), strict=True)
    ]  # fmt: skip

    shown = large_block.table(LargeBlock(mebibytes=500, trips=tuple(trips)))

    assert "| 500 | 20.0 | 2.0 | 100 (200) | 100 (200) | 100 (200) | 100 (200) |" in shown


@pytest.mark.slow
def test_a_block_comes_back_from_a_real_node_in_every_way(tmp_path: Path) -> None:
    measured = large_block.measure(tmp_path, mebibytes=70, console=Console(quiet=True))

    assert [trip.way for trip in measured.trips] == list(large_block.WAYS)
    assert [trip.mebibytes for trip in measured.trips] == [70, 70, 70, 35]
    for trip in measured.trips:
        assert set(trip.own) == set(large_block.PROCESSES)
    assert "travelling" in (tmp_path / "way-2" / "run.jsonl").read_text()
