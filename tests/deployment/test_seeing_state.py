"""The state of a run is what its diary has told, however the diary came to be read."""

import json
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seeing_logs import SITES, asked_of_round, begun, ended, one_round, trained, whole_run, write_log

from deploy.seeing import RunReader, RunState, find_runs, latest_run
from deploy.seeing.clock import elapsed_seconds, expected_rest, is_stalled
from lego_core.errors import LogError, RunError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a whole run's diary."""
    return write_log(tmp_path_factory.mktemp("whole"), whole_run()).read_bytes()


def state_of(folder: Path, events: list) -> RunState:
    write_log(folder, events)
    return RunReader(folder).look()


def read(written: bytes, cuts: list[int]) -> RunState:
    """Look at a diary as it grows to each of these lengths."""
    with tempfile.TemporaryDirectory() as name:
        reader = RunReader(Path(name))
        state = reader.look()
        for cut in cuts:
            (Path(name) / "run.jsonl").write_bytes(written[:cut])
            state = reader.look()
    return state


# ---- however it is read ------------------------------------------------------------------------


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_looking_often_gives_what_looking_once_gives(written: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=8)))

    assert read(written, [*cuts, len(written)]) == read(written, [len(written)])


@settings(max_examples=30)
@given(share=st.floats(0, 1))
def test_any_beginning_of_a_diary_gives_a_state_without_faults(written: bytes, share: float) -> None:
    cut = round(share * len(written))

    state = read(written, [cut])

    assert state.faults == ()
    assert state.lines == written[:cut].count(b"\n")
    assert RunState.model_validate_json(json.dumps(state.model_dump(mode="json"))) == state


def test_a_torn_line_is_waited_for(written: bytes) -> None:
    before = written.index(b"\n") + 1

    assert read(written, [before + 30]) == read(written, [before])
    assert read(written, [before + 30, len(written)]) == read(written, [len(written)])


@settings(max_examples=30)
@given(lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b" ")), max_size=5))
def test_no_bytes_are_too_odd_to_be_looked_at(lines: list[bytes]) -> None:
    state = read(b"".join(line + b"\n" for line in lines), [10_000])

    assert state.lines == len(lines)
    assert bool(state.faults) == bool(lines)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_event_with_odd_values_is_a_fault_and_no_end(written: bytes, data: st.DataObject) -> None:
    lines = written.splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    event = json.loads(lines[place])
    key = data.draw(st.sampled_from(sorted(event)))
    event[key] = data.draw(st.one_of(st.none(), st.text(max_size=5), st.integers(), st.lists(st.none())))
    lines[place] = json.dumps(event).encode()

    state = read(b"".join(line + b"\n" for line in lines), [len(written) * 2])

    assert state.lines == len(lines)
    json.dumps(state.model_dump(mode="json"), allow_nan=False)


def test_numbers_without_end_become_none(tmp_path: Path) -> None:
    broken = {"phase": "blocks", "round": 1, "modality": "clinical", "validation_loss": float("nan")}

    state = state_of(tmp_path, [*begun(), ("round-finished", broken)])

    assert state.blocks["clinical"].curve[0].validation_loss is None
    assert state.faults == ()


# ---- a diary that does not hold ----------------------------------------------------------------


def test_a_changed_line_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    path = write_log(tmp_path, whole_run())
    lines = path.read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].replace(b"clinic-1", b"clinic-9")
    path.write_bytes(b"".join(lines))

    state = RunReader(tmp_path).look()

    assert [fault.line for fault in state.faults] == [6 + 1]
    assert "does not follow" in state.faults[0].sentence
    assert state.status == "complete"


def test_a_line_taken_away_is_named(tmp_path: Path) -> None:
    path = write_log(tmp_path, whole_run())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4] + lines[5:]))

    assert RunReader(tmp_path).look().faults[0].line == 5


def test_a_diary_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = write_log(tmp_path, whole_run())
    reader = RunReader(tmp_path)
    assert reader.look().status == "complete"

    path.unlink()
    write_log(tmp_path, begun())

    assert reader.look() == RunReader(tmp_path).look()
    assert reader.look().status == "running"


def test_an_unknown_event_is_counted_and_no_fault(tmp_path: Path) -> None:
    state = state_of(tmp_path, [*begun(), ("invented-later", {"phase": 7})])

    assert state.counts["invented-later"] == 1
    assert state.faults == ()


def test_a_diary_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").mkdir()

    with pytest.raises(LogError, match=r"'run.jsonl' cannot be read \(Is a directory\)"):
        RunReader(tmp_path).look()


# ---- what it tells -----------------------------------------------------------------------------


def test_nothing_is_known_of_a_run_that_has_not_begun(tmp_path: Path) -> None:
    assert RunReader(tmp_path).look() == RunState()


def test_who_is_waited_for_since_when(tmp_path: Path) -> None:
    state = state_of(tmp_path, [*begun(), *asked_of_round(1)])

    assert state.waiting == tuple(sorted(SITES))
    assert state.limit_seconds == 100
    assert {site.standing for site in state.sites.values()} == {"waited for"}
    assert {site.waiting_since for site in state.sites.values()} == {state.asked_at}

    state = state_of(tmp_path, one_round(1)[2:4])

    assert state.waiting == ("clinic-2",)
    assert {name: one.standing for name, one in state.sites.items()} == {
        "clinic-1": "here", "clinic-2": "waited for", "lab": "here",
    }  # fmt: skip
    assert state.sites["clinic-2"].waiting_since == state.asked_at
    assert state.sites["lab"].last_answer is not None
    assert state.sites["lab"].waiting_since is None


def test_a_site_that_declines_is_told_with_its_sentence(tmp_path: Path) -> None:
    site = state_of(tmp_path, [*begun(), *one_round(1)]).sites["clinic-2"]

    assert site.standing == "declined"
    assert site.absences[0].reason == "Site 'clinic-2' takes no part on Tuesdays."
    assert site.absences[0].round == 1


def test_a_site_whose_wait_ended_is_absent(tmp_path: Path) -> None:
    late = {"site": "lab", "phase": "blocks", "round": 1, "modality": "laboratory", "reason": "No answer."}

    state = state_of(tmp_path, [*begun(), *asked_of_round(1), ("left-out", late)])

    assert state.sites["lab"].standing == "absent"
    assert "lab" not in state.waiting


def test_an_older_diary_tells_by_its_signs_of_life_who_is_waited_for(tmp_path: Path) -> None:
    waiting = {"phase": "blocks", "round": 1, "for": ["lab"], "seconds": 15, "limit_seconds": 100.0}

    state = state_of(tmp_path, [*begun(), ("waiting", waiting)])

    assert state.waiting == ("lab",)
    assert state.last_event is not None
    assert state.sites["lab"].waiting_since == state.last_event - timedelta(seconds=15)


def test_curves_of_sites_and_of_all_sites(tmp_path: Path) -> None:
    block = state_of(tmp_path, whole_run()).blocks["clinical"]

    assert [one.round for one in block.curve] == [1, 2, 3]
    assert [one.validation_score for one in block.curve] == pytest.approx([0.6, 0.7, 0.8])
    assert [(one.site, one.train_loss) for one in block.points] == [
        ("clinic-1", pytest.approx(1 / number)) for number in (1, 2, 3)
    ]
    assert (block.done, block.best_round, block.features) == (True, 2, 10)


def test_phases_begin_where_the_one_before_ends(tmp_path: Path) -> None:
    state = state_of(tmp_path, whole_run())

    assert [one.phase for one in state.phases] == ["offer", "agree", "blocks", "merge", "evaluate"]
    assert [one.ended for one in state.phases[:-1]] == [one.began for one in state.phases[1:]]
    assert state.phases[-1].ended == state.last_event


def test_scores_privacy_and_the_end(tmp_path: Path) -> None:
    state = state_of(tmp_path, whole_run())

    assert state.status == "complete"
    assert (state.metric, state.withheld, len(state.scores)) == ("C-index", 2, 2)
    assert state.recommendation == "Recommended: the merged model. It gains +0.04."
    assert (state.sites["lab"].epsilon, state.sites["lab"].charges, state.epsilon) == (4.5, 3, 8.0)
    assert state.sites["clinic-1"].epsilon is None


def test_a_run_that_goes_on_after_its_end_is_running_again(tmp_path: Path) -> None:
    events = [*begun(), *one_round(1), ("finished", {"status": "failed", "reason": "A reason."})]
    assert state_of(tmp_path, events).reason == "A reason."

    state = state_of(tmp_path, one_round(1)[:3])

    assert (state.status, state.reason, state.phase) == ("running", "", "blocks")


def test_a_run_that_is_resumed_waits_for_nobody_from_before(tmp_path: Path) -> None:
    resumed = {"checkpoint": "blocks-round-001", "when": "", "lines_done_again": 2, "torn_bytes": 0}

    state = state_of(tmp_path, [*begun(), *one_round(1), *asked_of_round(2), ("resumed", resumed)])

    assert (state.waiting, state.status) == ((), "running")
    assert "waited for" not in {site.standing for site in state.sites.values()}
    assert "goes on from checkpoint 'blocks-round-001'" in state.told[-1].sentence


def test_a_round_that_is_done_again_has_one_point(tmp_path: Path) -> None:
    block = state_of(tmp_path, [*begun(), *one_round(1), *one_round(2), *one_round(2)]).blocks["clinical"]

    assert [one.round for one in block.curve] == [1, 2]
    assert [one.round for one in block.points] == [1, 2]


# ---- what the clock adds -----------------------------------------------------------------------


def at(state: RunState, seconds: float) -> datetime:
    assert state.began is not None
    return state.began + timedelta(seconds=seconds)


def test_a_run_is_stalled_after_the_wait_of_its_plan(tmp_path: Path) -> None:
    state = state_of(tmp_path, [*begun(), *one_round(1)])

    assert not is_stalled(state, now=at(state, 60))
    assert is_stalled(state, now=at(state, 1000))
    assert not is_stalled(state_of(tmp_path, ended()), now=at(state, 1000))


def test_the_rest_is_told_from_the_rounds_that_were_measured(tmp_path: Path) -> None:
    reader = RunReader(tmp_path)
    write_log(tmp_path, begun())
    assert expected_rest(reader.look()) is None

    write_log(tmp_path, one_round(1))
    state = reader.look()
    (span,) = state.round_spans
    assert span.ended is not None
    assert expected_rest(state) == (span.ended - span.began) * 2  # of three rounds, two are left

    write_log(tmp_path, [*one_round(2), *one_round(3), *ended()])
    assert expected_rest(reader.look()) is None


def test_the_time_of_a_run_that_ended_stands_still(tmp_path: Path) -> None:
    state = state_of(tmp_path, whole_run())

    assert elapsed_seconds(state, now=at(state, 5000)) == elapsed_seconds(state, now=at(state, 9000))


def test_runs_are_found_and_the_latest_comes_first(tmp_path: Path) -> None:
    for name in ("one", "two/three"):
        write_log(tmp_path / name, begun())
    write_log(tmp_path / "one", trained())

    assert set(find_runs(tmp_path)) == {"one", "two/three"}
    assert latest_run(tmp_path / "one") == tmp_path / "one"
    with pytest.raises(RunError, match=r"There is no 'run.jsonl'"):
        latest_run(tmp_path / "two" / "three" / "four")
