"""What a site remembers of its secure sums, whatever happens to Flower or to the machine."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from client.ledger import SiteLedger
from lego_core.chained_log import ChainedLog
from lego_core.errors import LogError, SecureSumError
from lego_core.privacy.fsa1.ledger import SumKey

KEY = SumKey("run", "blood", 1, "0" * 64)
SID = bytes(32)
ROOT = Path(__file__).parents[2]
CONFIRM = """
import sys
from pathlib import Path
from client.ledger import SiteLedger
from lego_core.privacy.fsa1.ledger import SumKey
from lego_core.errors import SecureSumError
try:
    SiteLedger(Path(sys.argv[1])).confirm(
        SumKey("run", "blood", 1, "0" * 64), sid=bytes(32), sites=frozenset({"1", "2", sys.argv[2]})
    )
except SecureSumError:
    sys.exit(3)
"""

WITH_LITTLE_ROOM = """
import resource, signal, sys
from pathlib import Path
from client.ledger import SiteLedger
from lego_core.privacy.fsa1.ledger import SumKey
from lego_core.errors import LogError
ledger = SiteLedger(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    ledger.confirm(SumKey("run", "slides", 1, "0" * 64), sid=bytes(32), sites=frozenset({"1", "2", "3"}))
except LogError as error:
    print(error.public)
"""


@pytest.mark.parametrize("room", [0, 1, 200])
def test_on_a_full_disk_nothing_is_confirmed_and_nothing_is_lost(tmp_path, room):
    path = tmp_path / "ledger.jsonl"
    SiteLedger(path).confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))
    before = path.read_bytes()
    command = [sys.executable, "-c", WITH_LITTLE_ROOM, str(path), str(room and len(before) + room)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert "'ledger.jsonl' cannot be written (File too large)" in done.stdout
    assert "nothing is done that is not written down first. Make room on the disk" in done.stdout
    assert path.read_bytes() == before
    SiteLedger(path).confirm(SumKey("run", "slides", 1, "0" * 64), sid=SID, sites=frozenset({"1", "2", "3"}))
    assert len(ChainedLog(path).events) == 2


def test_the_same_sum_may_be_confirmed_again_after_a_restart(tmp_path):
    path = tmp_path / "ledger.jsonl"
    SiteLedger(path).confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))
    before = path.read_bytes()

    SiteLedger(path).confirm(KEY, sid=SID, sites=frozenset({"3", "2", "1"}))

    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("sid", "sites"), [(SID, frozenset({"1", "2", "3", "4"})), (b"\x01" * 32, frozenset({"1", "2", "3"}))]
)
def test_no_second_sum_of_the_same_weights_after_a_restart(tmp_path, sid, sites):
    path = tmp_path / "ledger.jsonl"
    SiteLedger(path).confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))

    with pytest.raises(SecureSumError, match="show one site by subtraction"):
        SiteLedger(path).confirm(KEY, sid=sid, sites=sites)


NEXT_ROUND = {"round": 2, "weights_sha256": "1" * 64}


@pytest.mark.parametrize("other", [{"run": "another"}, {"group": "slides"}, NEXT_ROUND])
def test_other_groups_runs_and_rounds_are_other_sums(tmp_path, other):
    ledger = SiteLedger(tmp_path / "ledger.jsonl")
    ledger.confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))

    ledger.confirm(replace(KEY, **other), sid=b"\x01" * 32, sites=frozenset({"3", "4", "5"}))


@pytest.mark.parametrize("sites", [{"1", "2"}, {"1", "2", "3", "4"}, {"2", "3", "4"}])
def test_two_runs_do_not_show_what_a_site_or_two_gave(tmp_path, sites):
    SiteLedger(tmp_path / "ledger.jsonl").confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))
    again = replace(KEY, run="another", round=3)
    ledger = SiteLedger(tmp_path / "ledger.jsonl")

    with pytest.raises(
        SecureSumError, match=r"opened in run 'run'.* differ .*set rules.compare-runs to false"
    ):
        ledger.confirm(again, sid=b"\x01" * 32, sites=frozenset(sites))
    ledger.confirm(replace(again, weights_sha256="1" * 64), sid=b"\x01" * 32, sites=frozenset(sites))


def test_two_runs_over_the_same_sites_or_over_quite_others_are_confirmed(tmp_path):
    ledger = SiteLedger(tmp_path / "ledger.jsonl")
    ledger.confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))

    for run, sites in {"second": {"1", "2", "3"}, "third": {"1", "2", "3", "4", "5", "6"}}.items():
        ledger.confirm(replace(KEY, run=run), sid=b"\x01" * 32, sites=frozenset(sites))


def test_a_set_that_was_confirmed_once_may_be_again_whatever_else_was(tmp_path):
    path = tmp_path / "ledger.jsonl"
    SiteLedger(path).confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))
    once = SiteLedger(path, compares_runs=False)
    once.confirm(replace(KEY, run="second"), sid=b"\x01" * 32, sites=frozenset({"1", "2", "3", "4"}))

    ledger = SiteLedger(path)
    ledger.confirm(replace(KEY, run="third"), sid=b"\x02" * 32, sites=frozenset({"1", "2", "3", "4"}))
    with pytest.raises(SecureSumError, match="they differ by"):
        ledger.confirm(replace(KEY, run="fourth"), sid=b"\x03" * 32, sites=frozenset({"1", "2"}))


def test_who_means_to_show_it_lets_runs_be_compared(tmp_path):
    ledger = SiteLedger(tmp_path / "ledger.jsonl", compares_runs=False)
    ledger.confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))

    ledger.confirm(replace(KEY, run="another"), sid=b"\x01" * 32, sites=frozenset({"1", "2"}))
    with pytest.raises(SecureSumError, match="show one site by subtraction"):
        ledger.confirm(KEY, sid=SID, sites=frozenset({"1", "2"}))


@pytest.mark.parametrize("name", NEXT_ROUND)
def test_nearly_the_same_sum_is_no_other(tmp_path, name):
    """The same weights in another round, or the same round with weights changed by a hair."""
    ledger = SiteLedger(tmp_path / "ledger.jsonl")
    ledger.confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))

    with pytest.raises(SecureSumError, match="show one site by subtraction"):
        ledger.confirm(replace(KEY, **{name: NEXT_ROUND[name]}), sid=SID, sites=frozenset({"1", "2"}))


def test_a_ledger_with_a_changed_byte_confirms_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = SiteLedger(path)
    for group in ("blood", "slides"):
        ledger.confirm(replace(KEY, group=group), sid=SID, sites=frozenset({"1", "2", "3"}))
    path.write_bytes(path.read_bytes().replace(b"blood", b"bloot"))

    with pytest.raises(LogError, match="was changed: line 2"):
        SiteLedger(path)


def test_two_processes_with_one_ledger_confirm_one_sum(tmp_path):
    path = tmp_path / "ledger.jsonl"
    first, second = SiteLedger(path), SiteLedger(path)
    first.confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3"}))

    with pytest.raises(SecureSumError, match="show one site by subtraction"):
        second.confirm(KEY, sid=SID, sites=frozenset({"1", "2", "3", "4"}))
    second.confirm(SumKey("run", "slides", 1, "0" * 64), sid=SID, sites=frozenset({"1", "2", "3"}))

    assert len(ChainedLog(path).events) == 2


def test_of_many_processes_at_once_one_set_of_survivors_is_confirmed(tmp_path):
    path = tmp_path / "ledger.jsonl"
    started = [
        subprocess.Popen([sys.executable, "-c", CONFIRM, str(path), str(last)], cwd=ROOT)
        for last in range(3, 9)
    ]

    codes = [process.wait(timeout=300) for process in started]

    assert sorted(codes) == [0, 3, 3, 3, 3, 3]
    assert len(ChainedLog(path).events) == 1


@pytest.mark.parametrize("stage", ["keys", "masked"])
def test_a_stage_is_entered_once_whatever_was_restarted(tmp_path, stage):
    path = tmp_path / "ledger.jsonl"
    SiteLedger(path).begin(SID, stage=stage)
    SiteLedger(path).begin(b"\x01" * 32, stage=stage)
    SiteLedger(path).begin(SID, stage="confirm")

    with pytest.raises(SecureSumError, match=f"answered '{stage}' of this session before"):
        SiteLedger(path).begin(SID, stage=stage)
