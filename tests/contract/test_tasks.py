"""What every prediction task promises. A new member of the union needs one example here."""

import json
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from lego_core.errors import DataError, ShapeError
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.statistics import OutcomeStatistics
from lego_core.tasks import AbstractTask, Classification, MultiLabel, Survival, Task

MEMBERS = get_args(get_args(Task)[0])


@dataclass(frozen=True)
class Example:
    """A task, outcomes of 60 patients, logits that know them, and outcomes that cannot be."""

    task: AbstractTask
    outcomes: torch.Tensor
    knowing: torch.Tensor
    impossible: torch.Tensor


def survival_example() -> Example:
    days = torch.arange(60.0) * 10
    knowing = (30 - torch.arange(60.0)).unsqueeze(1).expand(60, 4) / 10
    outcomes = torch.stack([days, (torch.arange(60) % 3 > 0).float()], dim=1)
    task = Survival(bin_edges_days=(150.0, 300.0, 450.0))
    return Example(task, outcomes, knowing, torch.tensor([[-1.0, 1.0], [5.0, 0.5], [torch.nan, 0.0]]))


def classification_example() -> Example:
    classes = torch.arange(60) % 3
    knowing = 4 * torch.nn.functional.one_hot(classes, 3).float()
    task = Classification(classes=("benign", "malignant", "unclear"))
    return Example(task, classes.float().unsqueeze(1), knowing, torch.tensor([[3.0], [-1.0], [0.5]]))


def multi_label_example() -> Example:
    outcomes = torch.stack([torch.arange(60) % 2, torch.arange(60) % 3 > 0], dim=1).float()
    impossible = torch.tensor([[0.0, 2.0], [torch.nan, 1.0], [1.0, -1.0]])
    return Example(MultiLabel(labels=("oedema", "sepsis")), outcomes, 4 * outcomes - 2, impossible)


EXAMPLES = {
    Survival: survival_example,
    Classification: classification_example,
    MultiLabel: multi_label_example,
}


@pytest.fixture(params=MEMBERS, ids=lambda member: member.__name__)
def example(request: pytest.FixtureRequest) -> Example:
    return EXAMPLES[request.param]()


def random_logits(example: Example, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(len(example.outcomes), example.task.num_outputs, generator=rng, dtype=dtype)


def cohort_of(outcomes: torch.Tensor, *, part: str | None = "train") -> Cohort:
    values = Measurement(torch.zeros(1, 1))
    rows = [Outcome(tuple(row)) for row in outcomes.tolist()]
    records = (PatientRecord(str(i), {"tabular": values}, row, part=part) for i, row in enumerate(rows))
    return Cohort(tuple(records), {"tabular": ModalitySchema(layout="table", features=("age",))})


def test_every_task_names_its_source(example: Example) -> None:
    assert "Source:" in (type(example.task).__doc__ or "")


def test_every_task_survives_its_plain_form(example: Example) -> None:
    plain = json.loads(json.dumps(example.task.to_plain()))

    assert TypeAdapter(Task).validate_python(plain) == example.task


def test_an_unknown_kind_is_answered_with_the_kinds_there_are() -> None:
    with pytest.raises(ValidationError, match="'classification', 'multi-label', 'survival'"):
        TypeAdapter(Task).validate_python({"kind": "surival"})


def test_every_loss_is_finite_for_any_finite_logits(example: Example) -> None:
    for scale in (0.0, 1.0, 1e4):
        logits = (scale * random_logits(example)).requires_grad_()

        loss = example.task.loss(logits, example.outcomes)
        loss.backward()

        assert loss.isfinite()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


def test_every_loss_has_the_gradient_that_differences_show(example: Example) -> None:
    logits = random_logits(example, dtype=torch.float64).requires_grad_()

    assert torch.autograd.gradcheck(lambda values: example.task.loss(values, example.outcomes), (logits,))


def test_every_loss_is_a_mean_over_patients(example: Example) -> None:
    logits = random_logits(example, dtype=torch.float64)

    whole = example.task.loss(logits, example.outcomes)
    single = [example.task.loss(logits[i : i + 1], example.outcomes[i : i + 1]) for i in range(len(logits))]

    torch.testing.assert_close(whole, torch.stack(single).mean())


def test_every_loss_is_lower_for_logits_that_know_the_outcome(example: Example) -> None:
    ignorant = torch.zeros_like(example.knowing)

    assert example.task.loss(example.knowing, example.outcomes) < example.task.loss(
        ignorant, example.outcomes
    )


def test_every_prediction_is_a_probability_per_patient(example: Example) -> None:
    predictions = example.task.predict(1e3 * random_logits(example))

    assert len(predictions) == len(example.outcomes)
    assert ((predictions >= 0) & (predictions <= 1)).all()


def test_the_mean_of_predictions_is_a_prediction(example: Example) -> None:
    task = example.task
    one, other = (task.predict(random_logits(example, seed=seed)) for seed in (1, 2))
    mean = (one + other) / 2

    assert 0 <= task.score(mean, example.outcomes).value <= 1
    assert task.details(mean, example.outcomes, reference=example.outcomes)
    if isinstance(task, Survival):
        assert (mean.diff(dim=1) <= 0).all()
    if isinstance(task, Classification):
        torch.testing.assert_close(mean.sum(dim=1), torch.ones(len(mean)))


def test_perfect_predictions_score_one(example: Example) -> None:
    score = example.task.score(example.task.predict(example.knowing), example.outcomes)

    assert score.value == 1
    assert score.pairs > 0


def test_constant_predictions_score_chance(example: Example) -> None:
    constant = example.task.predict(torch.zeros_like(example.knowing))

    assert example.task.score(constant, example.outcomes).value == example.task.chance


def test_a_single_patient_has_no_pairs(example: Example) -> None:
    score = example.task.score(example.task.predict(example.knowing[:1]), example.outcomes[:1])

    assert (score.value, score.pairs) == (0.5, 0)


def test_the_score_does_not_mind_the_order_of_patients(example: Example) -> None:
    predictions = example.task.predict(random_logits(example))
    order = torch.randperm(len(predictions), generator=torch.Generator().manual_seed(0))

    first = example.task.score(predictions, example.outcomes)
    second = example.task.score(predictions[order], example.outcomes[order])

    assert second.value == pytest.approx(first.value)
    assert second.pairs == first.pairs


def test_predictions_that_are_not_numbers_are_not_scored(example: Example) -> None:
    predictions = example.task.predict(example.knowing)
    predictions[3] = torch.nan

    with pytest.raises(DataError, match="of 1 of 60 patients are not finite numbers"):
        example.task.score(predictions, example.outcomes)


def test_details_are_plain_json(example: Example) -> None:
    predictions = example.task.predict(random_logits(example))

    details = example.task.details(predictions, example.outcomes, reference=example.outcomes)

    assert json.loads(json.dumps(details, allow_nan=False)) == details


@pytest.mark.parametrize("num_patients", [1, 2, 9])
def test_details_of_fewer_than_ten_patients_hold_no_number(example: Example, num_patients: int) -> None:
    few = example.outcomes[:num_patients]
    predictions = example.task.predict(example.knowing[:num_patients])

    details = example.task.details(predictions, few, reference=example.outcomes)

    agreed = ("horizon_days", "days")
    assert list(numbers_in(details, without=agreed)) == []


def numbers_in(value: object, *, without: tuple[str, ...]) -> list[float]:
    if isinstance(value, dict):
        parts = [part for key, part in value.items() if key not in without]
        return [number for part in parts for number in numbers_in(part, without=without)]
    if isinstance(value, list):
        return [number for part in value for number in numbers_in(part, without=without)]
    return [value] if isinstance(value, int | float) else []


def test_strata_are_small_whole_numbers(example: Example) -> None:
    strata = example.task.strata(example.outcomes)

    assert strata.shape == (len(example.outcomes),)
    assert strata.unique().tolist() == list(range(len(strata.unique())))


def test_possible_outcomes_pass(example: Example) -> None:
    example.task.check_outcomes(example.outcomes)


def test_every_impossible_outcome_is_counted_and_named_to_its_own_site_only(example: Example) -> None:
    mixed = torch.cat([example.outcomes[:5], example.impossible])

    with pytest.raises(DataError, match="outcomes of 3 of 8 patients do not fit; ") as caught:
        example.task.check_outcomes(mixed)

    assert caught.value.local == "first rows that do not fit, from 0: [5, 6, 7]"


def test_outcomes_with_a_column_too_many_are_refused(example: Example) -> None:
    width = example.outcomes.shape[1]

    with pytest.raises(DataError, match=rf"have {width + 1} columns, and task '.*' reads {width}: '"):
        example.task.check_outcomes(torch.zeros(4, width + 1))


def test_only_training_patients_are_summarised(example: Example) -> None:
    train, test = cohort_of(example.outcomes[:40]), cohort_of(example.outcomes[40:], part="test")
    together = train.keep(
        [
            *train.records,
            *(PatientRecord(f"t{r.patient_id}", r.modalities, r.outcome, part="test") for r in test.records),
        ]
    )

    assert_same(example.task.summarise(together), example.task.summarise(train))


def test_a_site_without_training_patients_adds_nothing(example: Example) -> None:
    nobody = example.task.summarise(cohort_of(example.outcomes, part="test"))
    everybody = example.task.summarise(cohort_of(example.outcomes))

    assert_same(nobody + everybody, everybody)


def test_impossible_outcomes_are_not_summarised(example: Example) -> None:
    with pytest.raises(DataError, match="do not fit"):
        example.task.summarise(cohort_of(example.impossible))


def test_statistics_of_sites_add_up_to_those_of_all_patients(example: Example) -> None:
    sites = [example.task.count_outcomes(example.outcomes[i::3]) for i in range(3)]

    assert_same(sites[0] + sites[1] + sites[2], example.task.count_outcomes(example.outcomes))


def test_agreeing_gives_a_task_of_the_same_size_that_can_be_learned(example: Example) -> None:
    agreed = example.task.agree(example.task.count_outcomes(example.outcomes))

    assert agreed.num_outputs == example.task.num_outputs
    assert agreed.loss(random_logits(example), example.outcomes).isfinite()


def test_statistics_of_another_task_are_refused(example: Example) -> None:
    other = OutcomeStatistics(
        torch.tensor(7.0).double(), torch.ones(7).double(), torch.zeros(7).double(), torch.zeros(7).double()
    )

    with pytest.raises(ShapeError, match="count 7 categories and 7 time bins, and task '"):
        example.task.agree(other)


def assert_same(first: OutcomeStatistics, second: OutcomeStatistics) -> None:
    torch.testing.assert_close(first.to_tensors(), second.to_tensors(), rtol=0, atol=0)
