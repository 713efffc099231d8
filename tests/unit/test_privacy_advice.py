"""`fedlego plan-privacy`: the sentence that a planner needs, and its inverse."""

import re

import pytest
from click.testing import Result
from typer.testing import CliRunner

from lego_core.cli import app
from lego_core.errors import PlanError
from lego_core.privacy_advice import privacy_advice

SITE = {"patients": 400, "batch_size": 40, "steps": 60}


@pytest.fixture(scope="module")
def for_epsilon() -> list[str]:
    return privacy_advice(**SITE, epsilon=3.0)


def test_the_noise_of_an_epsilon_costs_that_epsilon(for_epsilon):
    noise = float(re.search(r"you need noise-multiplier = ([\d.]+)", for_epsilon[0]).group(1))

    costs = privacy_advice(**SITE, noise_multiplier=noise)

    assert for_epsilon[0].startswith("For epsilon = 3 at delta = 1e-05 in 60 steps you need noise-multiplier")
    assert 2.9 < float(re.search(r"costs epsilon = ([\d.]+) at", costs[0]).group(1)) <= 3.0
    assert "recommended" not in " ".join(costs)


def test_a_weak_promise_is_called_weak():
    assert "Epsilon above 8 is a weak promise; 3 or less is recommended." in privacy_advice(
        **SITE, noise_multiplier=0.6
    )


def test_alternatives_with_fewer_steps_need_less_noise(for_epsilon):
    table = [line.split() for line in for_epsilon if line.strip()[:1].isdigit()]
    noise = {(int(steps), int(batch)): float(noise) for steps, batch, noise, _ in table}

    assert noise[60, 40] > noise[30, 40] > noise[15, 40]
    assert noise[60, 80] > noise[60, 40]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Give the epsilon you may spend, or the noise multiplier"),
        ({"epsilon": 1.0, "noise_multiplier": 1.0}, "one of both"),
        ({"epsilon": 1.0, "batch_size": 500}, "A step cannot expect 500 of 400 patients"),
        ({"epsilon": 1.0, "delta": 1.0}, "Delta is a chance, and 1 does not lie between 0 and 1"),
    ],
)
def test_what_cannot_be_planned_is_said(given, sentence):
    with pytest.raises(PlanError, match=sentence):
        privacy_advice(**(SITE | given))


def test_the_command_counts_the_steps_of_all_rounds():
    result = asked(noise_multiplier=2, rounds=6)

    assert result.exit_code == 0
    assert "Noise-multiplier = 2 costs epsilon" in result.output
    assert "in 60 steps" in result.output.replace("\n", " ")


def test_the_command_answers_a_bad_question_with_a_sentence():
    result = asked(epsilon=0)

    assert result.exit_code == 2
    assert "No noise below" in result.output


def asked(**options: float) -> Result:
    given = {"patients": 400, "batch_size": 40, "steps": 10, **options}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return CliRunner().invoke(app, ["plan-privacy", *words])
