"""Epsilon agrees with another accountant, never shrinks, and the noise it asks for is enough and not more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lego_core import _opacus, accounting
from lego_core.accounting import Epsilon, NoisySteps, epsilon_of, needed_noise
from lego_core.errors import PrivacyError

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests/vectors/epsilon.json").read_text())
CASES = list(zip(GOLDEN["inputs"], GOLDEN["outputs"], strict=True))


@pytest.mark.parametrize(("case", "expected"), CASES, ids=[str(case["history"]) for case, _ in CASES])
def test_epsilon_is_that_of_an_independent_accountant_within_one_percent(case, expected, monkeypatch):
    monkeypatch.setattr(accounting, "ORDERS", list(range(2, 65)))  # those of the golden values
    history = [NoisySteps(*steps) for steps in case["history"]]

    epsilon = epsilon_of(history, delta=case["delta"])

    assert expected["pld"] <= epsilon.value <= 1.01 * expected["pld"]
    assert epsilon.rdp == pytest.approx(expected["rdp"], rel=1e-6)
    assert epsilon.value <= epsilon.rdp


def test_steps_that_are_alike_are_one_history_however_they_come():
    alike, other = NoisySteps(1.5, 0.1, 30), NoisySteps(2.0, 0.2, 10)

    at_once = epsilon_of([NoisySteps(1.5, 0.1, 60), other], delta=1e-5)

    assert (
        epsilon_of([alike, other, alike], delta=1e-5)
        == at_once
        == epsilon_of([other, alike, alike], delta=1e-5)
    )


def test_nothing_done_costs_nothing():
    assert epsilon_of([], delta=1e-5) == Epsilon(0.0, 0.0)


@pytest.mark.parametrize(
    "dearer", [NoisySteps(0.9, 0.1, 50), NoisySteps(1.0, 0.12, 50), NoisySteps(1.0, 0.1, 60)]
)
def test_less_noise_larger_batches_and_more_steps_cost_more(dearer):
    assert (
        epsilon_of([dearer], delta=1e-5).value
        > 1.02 * epsilon_of([NoisySteps(1.0, 0.1, 50)], delta=1e-5).value
    )


def test_a_smaller_delta_costs_more():
    history = [NoisySteps(1.0, 0.1, 50)]

    assert epsilon_of(history, delta=1e-7).value > epsilon_of(history, delta=1e-5).value


def test_a_promise_that_means_nothing_is_told_all_the_same():
    assert epsilon_of([NoisySteps(0.1, 0.5, 1000)], delta=1e-5).value > 1e4


def test_accountants_that_contradict_each_other_are_an_alarm(monkeypatch):
    monkeypatch.setattr(accounting, "_by_rdp", lambda history, delta: 1.0)

    with pytest.raises(PrivacyError, match=r"is 5\.\d+ by PRV and at most 1 by RDP, at delta 1e-05"):
        epsilon_of([NoisySteps(1.0, 0.1, 50)], delta=1e-5)


@pytest.mark.parametrize(
    "steps", [(0.0, 0.1, 5), (float("nan"), 0.1, 5), (1.0, 0.0, 5), (1.0, 1.1, 5), (1.0, 0.1, 0)]
)
def test_what_is_no_private_training_is_refused(steps):
    with pytest.raises(PrivacyError, match="are no private training: the first must be above 0"):
        NoisySteps(*steps)


@pytest.mark.parametrize(("epsilon", "rate", "steps"), [(3.0, 0.064, 200), (1.0, 0.2, 50), (0.1, 0.01, 20)])
def test_the_noise_an_epsilon_asks_for_is_enough_and_not_much_more(epsilon, rate, steps):
    noise = needed_noise(epsilon, delta=1e-5, sampling_rate=rate, steps=steps)

    assert epsilon_of([NoisySteps(noise, rate, steps)], delta=1e-5).value <= epsilon
    assert epsilon_of([NoisySteps(0.98 * noise, rate, steps)], delta=1e-5).value > epsilon


def test_an_epsilon_that_no_noise_reaches_is_said():
    with pytest.raises(
        PrivacyError, match="No noise below 10000 clip norms brings 10 steps down to epsilon 0 at"
    ):
        needed_noise(0.0, delta=1e-5, sampling_rate=0.1, steps=10)


def test_without_opacus_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(_opacus, "find_spec", lambda name: None)

    with pytest.raises(PrivacyError, match=r"Install 'lego-federation\[privacy\]'"):
        epsilon_of([NoisySteps(1.0, 0.1, 50)], delta=1e-5)


def test_the_science_is_imported_without_opacus():
    code = (
        "import importlib, pkgutil, sys; sys.modules['opacus'] = None; import lego_core;"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(lego_core.__path__, 'lego_core.')]"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
