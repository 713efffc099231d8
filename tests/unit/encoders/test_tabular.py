"""A self-normalising network for tables."""

import pytest
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel

from lego_core.encoders import Tabular
from lego_core.encoders.tabular import WAVE_FREQUENCY
from lego_core.errors import ShapeError
from lego_core.records import ModalitySchema


def schema(num_features):
    return ModalitySchema(layout="table", features=tuple(f"gene {number}" for number in range(num_features)))


def awake(module):
    """The module after a training that moved its two paths away from zero."""
    for layer in (module.out, module.skip):
        if layer is not None:
            torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    return module


@pytest.mark.parametrize("waves", [0, 64])
def test_untrained_tokens_are_the_same_for_every_patient(make_inputs, waves):
    module = Tabular(waves=waves).build(schema(300)).eval()

    tokens = module(make_inputs(100 * torch.randn(6, 1, 300))).values

    assert torch.equal(tokens, tokens[:1].expand_as(tokens))


def test_products_of_waves_are_the_gaussian_kernel_of_scikit_learn(make_inputs):
    features = 6
    module = Tabular(waves=200_000, num_tokens=1, token_dim=1).build(schema(features)).eval()
    values = torch.randn(5, 1, features).clamp(-2, 2)
    measured = torch.rand(5, 1, features) < 0.8
    inputs = make_inputs(values * measured, measured=measured)
    seen = torch.cat([inputs.values[:, 0], (~measured[:, 0]).float()], dim=1)

    waves = module.waves(seen) / module.waves.height
    products = 2 * (waves @ waves.T) / waves.shape[1]

    gamma = WAVE_FREQUENCY**2 / (2 * 2 * features)
    expected = torch.tensor(rbf_kernel(seen.numpy(), gamma=gamma), dtype=torch.float32)
    torch.testing.assert_close(products, expected, atol=0.02, rtol=0)


def test_waves_take_the_place_of_the_hidden_layers():
    names = {name.split(".")[0] for name, _ in Tabular(waves=8).build(schema(3)).named_parameters()}

    assert names == {"waves", "out", "skip", "absent", "constant"}


def test_waves_tell_how_features_act_together(make_inputs):
    """Whether two features have the same sign is in no weighted sum of them, nor of their squares."""
    values = torch.randn(400, 1, 2, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    same = (values[:, 0].prod(dim=1) > 0).float()

    def explained(**settings):
        module = Tabular(num_tokens=1, token_dim=1, input_dropout=0, **settings).build(schema(2)).eval()
        seen = values[:, 0]
        features = torch.cat([seen, seen.square()], dim=1)
        if module.waves is not None:
            waves = module.waves(torch.cat([seen, torch.zeros_like(seen)], dim=1)).detach()
            features = torch.cat([features, waves], dim=1)
        return LogisticRegression(C=1e3, max_iter=2000).fit(features, same).score(features, same)

    assert explained(waves=64) > 0.9
    assert explained() < 0.7


def test_one_step_of_training_tells_patients_apart(make_inputs):
    module = Tabular().build(schema(30))
    inputs = make_inputs(torch.randn(6, 1, 30))
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2)

    (module(inputs).values[:3].sum() - module(inputs).values[3:].sum()).backward()
    optimiser.step()
    tokens = module.eval()(inputs).values

    assert tokens.var(dim=0).mean() > 1e-3


def test_squares_let_both_ends_of_a_feature_say_the_same(make_inputs):
    low, middle, high = (make_inputs(torch.full((1, 1, 1), value)) for value in (-2.0, 0.0, 2.0))
    module = Tabular(squares=True).build(schema(1)).eval()
    torch.nn.init.zeros_(module.out.weight)
    module.skip.weight.data = torch.tensor([0.0, 1.0]).expand(256, 2).contiguous()

    assert torch.equal(module(low).values, module(high).values)
    assert (module(high).values > module(middle).values).all()
    assert Tabular(squares=False).build(schema(1)).skip.in_features == 1


def test_what_lies_beyond_three_spreads_says_no_more(make_inputs):
    module = awake(Tabular().build(schema(2))).eval()
    far, farther = (make_inputs(torch.full((1, 1, 2), value)) for value in (3.0, 9.0))

    assert torch.equal(module(far).values, module(farther).values)


@pytest.mark.parametrize("absent_share", [0.0, 0.4])
def test_hidden_layers_keep_mean_zero_and_variance_one(make_inputs, absent_share):
    module = Tabular(hidden_dims=(256,) * 8, dropout=0.0, squares=False).build(schema(100)).eval()
    measured = torch.rand(400, 1, 100) >= absent_share
    inputs = make_inputs(torch.randn(400, 1, 100) * measured, measured=measured)

    hidden = module.hidden(inputs.values[:, 0])

    assert abs(hidden.mean()) < 0.1
    assert 0.8 < hidden.var() < 1.2


def test_alpha_dropout_keeps_mean_zero_and_variance_one():
    module = (
        Tabular(hidden_dims=(256,) * 8, dropout=0.1, input_dropout=0.0, squares=False)
        .build(schema(100))
        .train()
    )

    hidden = module.hidden(torch.randn(400, 100))

    assert abs(hidden.mean()) < 0.15
    assert 0.75 < hidden.var() < 1.25


def one_absent(make_inputs):
    measured = torch.tensor([[[True, False, True]]])
    return make_inputs(torch.zeros(1, 1, 3), measured=measured), make_inputs(torch.zeros(1, 1, 3))


def test_an_absent_measurement_starts_as_an_average_one(make_inputs):
    module = Tabular().build(schema(3)).eval()
    absent, average = one_absent(make_inputs)

    assert torch.equal(module(absent).values, module(average).values)


def test_one_step_of_training_tells_absent_from_a_measurement_of_zero(make_inputs):
    module = Tabular(dropout=0.0, input_dropout=0.0).build(schema(3))
    absent, average = one_absent(make_inputs)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2)

    module(absent).values.square().sum().backward()
    optimiser.step()

    assert not torch.allclose(module(absent).values, module(average).values, atol=1e-3)


def test_without_indicators_an_absent_measurement_stays_an_average_one():
    with_them, without = (
        {name for name, _ in Tabular(missing_indicators=told).build(schema(3)).named_parameters()}
        for told in (True, False)
    )

    assert with_them - without == {"absent.weight"}


def test_without_indicators_waves_do_not_see_what_is_absent(make_inputs):
    absent, average = one_absent(make_inputs)
    unlike = {}
    for told in (True, False):
        module = awake(Tabular(missing_indicators=told, waves=16).build(schema(3))).eval()
        unlike[told] = not torch.equal(module(absent).values, module(average).values)

    assert unlike == {True: True, False: False}


def test_the_linear_path_is_a_weighted_sum_of_the_features(make_inputs):
    module = awake(Tabular(squares=False).build(schema(5))).eval()
    torch.nn.init.zeros_(module.out.weight)
    first, second = torch.randn(1, 1, 5).clamp(-1.5, 1.5), torch.randn(1, 1, 5).clamp(-1.5, 1.5)
    nothing, one, other, both = (
        module(make_inputs(v)).values for v in (torch.zeros(1, 1, 5), first, second, first + second)
    )

    torch.testing.assert_close(both - nothing, (one - nothing) + (other - nothing))
    assert not torch.allclose(one, nothing, atol=1e-3)


def test_without_the_linear_path_its_weights_are_gone():
    counts = [
        sum(weight.numel() for weight in Tabular(linear_skip=skip).build(schema(5)).parameters())
        for skip in (True, False)
    ]

    assert counts[0] - counts[1] == (5 + 5) * (4 * 64)


def test_size_of_a_deviation_survives_the_layer_norm_behind_the_tokens(make_inputs):
    module = awake(Tabular().build(schema(5))).eval()
    deviation = torch.randn(1, 1, 5).clamp(-1.5, 1.5)

    small, large = (
        torch.nn.functional.layer_norm(module(make_inputs(scale * deviation)).values, (64,))
        for scale in (0.2, 2.0)
    )

    assert (small - large).square().mean() > 0.1


def test_input_dropout_hides_features_in_training_only(make_inputs):
    module = awake(Tabular(input_dropout=0.5, dropout=0.0).build(schema(20)))
    inputs = make_inputs(torch.ones(1, 1, 20))

    in_training = [module.train()(inputs).values for _ in range(2)]
    in_evaluation = [module.eval()(inputs).values for _ in range(2)]

    assert not torch.allclose(*in_training, atol=1e-3)
    assert torch.equal(*in_evaluation)


def test_num_tokens_cuts_the_output_into_tokens(make_inputs):
    tokens = Tabular(num_tokens=3, token_dim=8).build(schema(5))(make_inputs(torch.randn(2, 1, 5)))

    assert tokens.values.shape == (2, 3, 8)
    assert tokens.present.all()


def test_a_table_of_two_rows_is_refused(make_inputs):
    with pytest.raises(ShapeError, match="A table has 1 row per patient, and these inputs have 2"):
        Tabular().build(schema(3))(make_inputs(torch.zeros(1, 2, 3)))


def test_a_network_without_hidden_layers_is_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        Tabular(hidden_dims=())
