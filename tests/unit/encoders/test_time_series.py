"""Visits in order, with time and with what was not measured."""

import pytest
import torch
from torch.func import functional_call, grad, vmap

from lego_core.encoders import TimeSeries
from lego_core.encoders.time_series import last_known
from lego_core.records import ModalitySchema

SCHEMA = ModalitySchema(layout="series", features=("sodium", "lactate"))
TIMES = torch.tensor([[0.0, 1.0, 3.0, 7.0]])


@pytest.fixture
def module():
    return TimeSeries().build(SCHEMA).eval()


def test_last_known_value_is_carried_until_the_next_one():
    values = torch.tensor([[[0.0], [5.0], [0.0], [0.0], [8.0]]])
    measured = torch.tensor([[[False], [True], [False], [False], [True]]])
    times = torch.tensor([[1.0, 2.0, 4.0, 9.0, 10.0]])

    last, unmeasured_for = last_known(values, measured, times)

    assert last.flatten().tolist() == [0, 5, 5, 5, 8]
    assert unmeasured_for.flatten().tolist() == [0, 0, 2, 7, 0]


def test_a_feature_never_measured_is_unknown_since_the_first_visit():
    last, unmeasured_for = last_known(
        torch.zeros(1, 3, 1), torch.zeros(1, 3, 1, dtype=torch.bool), torch.tensor([[2.0, 5.0, 6.0]])
    )

    assert last.flatten().tolist() == [0, 0, 0]
    assert unmeasured_for.flatten().tolist() == [0, 3, 4]


def test_time_since_a_measurement_is_never_negative():
    _, unmeasured_for = last_known(
        torch.zeros(1, 2, 1), torch.tensor([[[True], [False]]]), torch.tensor([[5.0, 0.0]])
    )

    assert unmeasured_for.flatten().tolist() == [0, 0]


def test_order_of_visits_matters(module, make_inputs):
    visits = torch.randn(1, 4, 2)

    forwards = module(make_inputs(visits, times_days=TIMES)).values[:, -1]
    backwards = module(make_inputs(visits.flip(1), times_days=TIMES)).values[:, -1]

    assert not torch.allclose(forwards, backwards, atol=1e-3)


def test_time_between_visits_matters(module, make_inputs):
    visits = torch.randn(1, 4, 2)

    slow = module(make_inputs(visits, times_days=10 * TIMES)).values

    assert not torch.allclose(slow, module(make_inputs(visits, times_days=TIMES)).values, atol=1e-3)


def test_an_absent_measurement_is_not_a_measurement_of_zero(module, make_inputs):
    visits = torch.zeros(1, 4, 2)
    measured = torch.ones_like(visits, dtype=torch.bool)
    measured[0, 2, 1] = False

    absent = module(make_inputs(visits, measured=measured, times_days=TIMES)).values

    assert not torch.allclose(absent, module(make_inputs(visits, times_days=TIMES)).values, atol=1e-3)


def test_what_was_measured_long_ago_still_speaks(module, make_inputs):
    low, high = torch.zeros(1, 4, 2), torch.zeros(1, 4, 2)
    high[0, 0, 1] = 3.0
    measured = torch.ones_like(low, dtype=torch.bool)
    measured[0, 1:, 1] = False

    told = [module(make_inputs(v, measured=measured, times_days=TIMES)).values[:, -1] for v in (low, high)]

    assert not torch.allclose(*told, atol=1e-3)


def test_a_token_depends_on_its_own_visit_and_on_earlier_ones_never_on_later_ones(module, make_inputs):
    visits = torch.randn(1, 4, 2)
    changed = visits.clone()
    changed[0, 2:] += 5.0

    before, after = (module(make_inputs(v, times_days=TIMES)).values[0] for v in (visits, changed))

    assert torch.equal(before[:2], after[:2])
    assert not torch.allclose(before[2], after[2], atol=1e-3)


def test_one_visit_is_enough(module, make_inputs):
    tokens = module(make_inputs(torch.randn(3, 1, 2)))

    assert tokens.values.shape == (3, 1, 64)
    assert tokens.values.isfinite().all()


def test_padding_is_zero_and_marked(module, make_inputs):
    present = torch.tensor([[True, True, False, False]])

    tokens = module(make_inputs(torch.randn(1, 4, 2), present=present, times_days=TIMES))

    assert torch.equal(tokens.present, present)
    assert (tokens.values[0, 2:] == 0).all()


def test_time_unit_makes_hours_of_days(make_inputs):
    days, hours = TimeSeries(), TimeSeries(time_unit_days=1 / 24)
    by_day, by_hour = days.build(SCHEMA).eval(), hours.build(SCHEMA).eval()
    by_hour.load_state_dict(by_day.state_dict())
    visits = torch.randn(1, 4, 2)

    first = by_day(make_inputs(visits, times_days=TIMES)).values
    second = by_hour(make_inputs(visits, times_days=TIMES / 24)).values

    torch.testing.assert_close(first, second)


def test_times_before_the_start_and_after_decades_stay_finite(module, make_inputs):
    times = torch.tensor([[-400.0, 0.0, 1e-3, 3e4]])

    assert module(make_inputs(torch.randn(1, 4, 2), times_days=times)).values.isfinite().all()


def test_several_layers_can_be_stacked(make_inputs):
    module = TimeSeries(num_layers=2, token_dim=8).build(SCHEMA)

    assert module(make_inputs(torch.randn(2, 3, 2))).values.shape == (2, 3, 8)


def test_gradients_can_be_taken_patient_by_patient(module, make_inputs):
    weights = dict(module.named_parameters())
    visits = torch.randn(3, 4, 2)

    def loss(weights, patient):
        inputs = make_inputs(patient.unsqueeze(0), times_days=TIMES)
        return functional_call(module, weights, (inputs,)).values.square().sum()

    together = vmap(grad(loss), in_dims=(None, 0))(weights, visits)

    for number, patient in enumerate(visits):
        alone = grad(loss)(weights, patient)
        for name, expected in alone.items():
            torch.testing.assert_close(together[name][number], expected, atol=1e-4, rtol=1e-3)
