"""A site's account of private training: charged before, never refunded, and stopped at the budget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from client.ledger import SiteLedger
from lego_core.accounting import NoisySteps, epsilon_of
from lego_core.chained_log import ChainedLog
from lego_core.errors import BudgetSpent, LogError, PrivacyError

ROUND = NoisySteps(2.0, 0.1, 20)
PATIENTS = ["anna", "bert", "carla"]
CHARGE = """
import sys
from pathlib import Path
from client.ledger import SiteLedger
from lego_core.accounting import NoisySteps
from lego_core.errors import BudgetSpent
try:
    SiteLedger(Path(sys.argv[1])).charge(
        NoisySteps(2.0, 0.1, 20), purpose="x", patients=["anna"], budget=float(sys.argv[2]), delta=1e-5
    )
except BudgetSpent:
    sys.exit(3)
"""


def charge(
    ledger: SiteLedger, steps: NoisySteps = ROUND, *, budget: float = 3.0, delta: float = 1e-5
) -> float:
    return ledger.charge(steps, purpose="block blood", patients=PATIENTS, budget=budget, delta=delta).value


def priced(rounds: int, *others: NoisySteps, delta: float = 1e-5) -> float:
    return epsilon_of([ROUND] * rounds + list(others), delta=delta).value


def test_rounds_and_models_compose_and_a_restart_forgets_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    first = charge(SiteLedger(path))
    fused = NoisySteps(1.5, 0.3, 5)

    second = charge(SiteLedger(path), fused)

    assert (first, second) == (priced(1), priced(1, fused))
    assert SiteLedger(path).spent().value == second


def test_nothing_is_charged_beyond_the_budget_and_nothing_up_to_it_is_lost(tmp_path):
    ledger = SiteLedger(tmp_path / "ledger.jsonl")
    budget = priced(2) + 0.001
    charge(ledger, budget=budget)
    charge(ledger, budget=budget)
    before = (tmp_path / "ledger.jsonl").read_bytes()

    with pytest.raises(
        BudgetSpent, match=rf"has spent epsilon {priced(2):.4g} of .* 20 more steps would make it"
    ):
        charge(ledger, budget=budget)

    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    assert charge(ledger, NoisySteps(200.0, 0.001, 1), budget=budget) <= budget


def test_a_spent_budget_is_an_error_of_privacy_that_may_leave_the_site(tmp_path):
    with pytest.raises(PrivacyError) as raised:
        charge(SiteLedger(tmp_path / "ledger.jsonl"), budget=0.01)

    assert str(tmp_path) not in str(raised.value)
    assert "anna" not in str(raised.value)


def test_the_smallest_delta_of_all_charges_counts_for_all(tmp_path):
    ledger = SiteLedger(tmp_path / "ledger.jsonl")
    charge(ledger, delta=1e-6)

    assert charge(ledger, delta=1e-5) == priced(2, delta=1e-6)


def test_an_empty_ledger_has_spent_nothing(tmp_path):
    assert SiteLedger(tmp_path / "ledger.jsonl").spent().value == 0


def test_a_charge_is_on_the_disk_before_it_returns_and_says_what_it_was_for(tmp_path):
    path = tmp_path / "ledger.jsonl"
    epsilon = charge(SiteLedger(path))

    (entry,) = ChainedLog(path).events

    assert entry["event"] == "privacy-charged"
    assert entry["purpose"] == "block blood"
    assert (entry["noise_multiplier"], entry["sampling_rate"], entry["steps"]) == (2.0, 0.1, 20)
    assert (entry["delta"], entry["epsilon"]) == (1e-5, epsilon)


def test_the_ledger_names_no_patient_and_seals_the_same_ones_differently_each_time(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = SiteLedger(path)
    charge(ledger)
    charge(ledger)

    seals = {json.loads(line)["patients"] for line in path.read_text().splitlines()}

    assert len(seals) == 2
    assert not any(name in path.read_text() for name in PATIENTS)


def test_a_ledger_with_a_changed_charge_charges_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = SiteLedger(path)
    charge(ledger)
    charge(ledger)
    path.write_bytes(path.read_bytes().replace(b'"steps": 20', b'"steps": 10', 1))

    for attempt in (lambda: SiteLedger(path), lambda: charge(ledger), ledger.spent):
        with pytest.raises(LogError, match="was changed: line 2"):
            attempt()


def test_a_full_disk_charges_nothing_and_says_so(tmp_path, monkeypatch):
    ledger = SiteLedger(tmp_path / "ledger.jsonl")
    monkeypatch.setattr("os.fsync", _full)

    with pytest.raises(LogError, match="cannot be written"):
        charge(ledger)

    monkeypatch.undo()
    assert ledger.spent().value == 0


def test_two_processes_at_once_spend_one_budget(tmp_path):
    path, budget = tmp_path / "ledger.jsonl", priced(1) + 0.001
    command = [sys.executable, "-c", CHARGE, str(path), str(budget)]
    root = Path(__file__).parents[2]

    with subprocess.Popen(command, cwd=root) as one, subprocess.Popen(command, cwd=root) as other:
        ends = sorted((one.wait(), other.wait()))

    assert ends == [0, 3]
    assert SiteLedger(path).spent().value == priced(1)


def _full(handle: int) -> None:
    raise OSError(28, "No space left on device")
