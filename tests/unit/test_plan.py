"""Plans: read from TOML, checked before anything starts, and the same when written and read again."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from lego_core.aggregation import TrimmedMean
from lego_core.errors import MergeError, PlanError
from lego_core.merging import RegMean, Ties
from lego_core.plan import Fuse, Merging, Participation, Rounds, RunPlan, find_plan, shipped_plans
from lego_core.privacy import NoPrivacy
from lego_core.training import TrainingSettings

PLAN = """
name = "two"

[task]
kind = "survival"

[privacy]
kind = "no-privacy"

[modalities.clinical]
learning-rate = 0.5
[modalities.clinical.encoder]
kind = "tabular"

[modalities.scan.encoder]
kind = "tabular"

[training]
learning-rate = 0.25
weight-decay = 0.125

[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 3

[[simulation.groups]]
name = "imaging"
modalities = ["scan"]

[simulation.data]
kind = "pbc"
"""


def changed(*path: str, to: object) -> str:
    """The plan with one key set, or with a key taken out if set to None."""
    plain: dict[str, Any] = tomllib.loads(PLAN)
    table = plain
    for key in path[:-1]:
        table = table.setdefault(key, {})
    if to is None:
        del table[path[-1]]
    else:
        table[path[-1]] = to
    return tomli_w.dumps(plain)


def refused(text: str) -> str:
    with pytest.raises(PlanError) as error:
        RunPlan.parse(text, where="Plan 'two'")
    return error.value.public


# ---- reading -----------------------------------------------------------------------------------


def test_plan_is_read():
    plan = RunPlan.parse(PLAN, where="Plan 'two'")

    assert (plan.name, list(plan.modalities), plan.fuse) == ("two", ["clinical", "scan"], None)


@pytest.mark.parametrize("name", shipped_plans())
def test_shipped_plan_is_the_same_when_written_and_read_again(name):
    plan = RunPlan.shipped(name)

    again = RunPlan.parse(tomli_w.dumps(plan.to_plain()), where="again")

    assert again == plan
    assert plan.name == name


@given(
    st.integers(1, 99), st.integers(1, 9), st.integers(0, 10**6), st.floats(1e-6, 1e3), st.floats(1e-3, 1e6)
)
def test_numbers_survive_toml(rounds, epochs, seed, rate, seconds):
    plain = tomllib.loads(PLAN) | {
        "seed": seed,
        "rounds": {"rounds": rounds, "local-epochs": epochs},
        "training": {"learning-rate": rate},
        "participation": {"round-seconds": seconds},
    }
    plan = RunPlan.model_validate(plain)

    assert RunPlan.parse(tomli_w.dumps(plan.to_plain()), where="again") == plan


@pytest.mark.parametrize("name", ["rna", "RNA-seq", "ct_2", "2", "headache"])
def test_modality_may_be_called_by_letters_digits_and_strokes(name):
    named = PLAN.replace("scan", name)

    assert list(RunPlan.parse(named, where="x").modalities) == ["clinical", name]


@pytest.mark.parametrize("name", ["", "a+b", "a/b", "a#1", "a.b", "a b", "a\n", "-a", "_a", "größe", "१"])
def test_modality_whose_name_could_be_that_of_several_is_refused(name):
    encoder = {"encoder": {"kind": "tabular"}}

    said = refused(changed("modalities", name, to=encoder))

    assert said.startswith(f"Plan 'two': key 'modalities.{name}': '{name}' is no name for a modality, since")
    assert said.endswith("use letters, digits, '-' and '_', and begin with a letter or a digit.")


@pytest.mark.parametrize(
    "name", ["head", "fused", "encoder", "trunk", "values", "items", "type", "training", "first"]
)
def test_modality_called_as_something_else_in_a_model_is_refused(name):
    said = refused(changed("modalities", name, to={"encoder": {"kind": "tabular"}}))

    assert f"'{name}' is no name for a modality, since it means something else" in said
    assert said.endswith(f"call it otherwise, as '{name}-data'.")


def test_plan_is_loaded_from_a_file(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(PLAN)

    assert RunPlan.load(path) == RunPlan.parse(PLAN, where="Plan 'two'")


def test_absent_file_is_told_without_its_path(tmp_path):
    with pytest.raises(PlanError, match=r"^The plan 'none.toml' cannot be read\. Give the path of") as error:
        RunPlan.load(tmp_path / "none.toml")

    assert str(tmp_path) not in error.value.public
    assert str(tmp_path) in error.value.local


def test_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "two.toml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(PlanError, match=r"^The plan 'two.toml' cannot be read"):
        RunPlan.load(path)


def test_text_that_is_no_toml_is_told_with_its_line(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text('name = "two"\nseed = = 3\n')

    with pytest.raises(PlanError, match=r"^Plan 'two' is not TOML: .*line 2.*Mend that line\.$"):
        RunPlan.load(path)


def test_unknown_shipped_plan_is_answered_with_the_names_of_all():
    with pytest.raises(PlanError, match=r"^There is no shipped plan 'pcb'") as error:
        RunPlan.shipped("pcb")

    assert all(f"'{name}'" in error.value.public for name in shipped_plans())


def test_shipped_plans_are_found_by_the_name_of_their_file():
    for name, path in shipped_plans().items():
        assert find_plan(name) == path
        assert (path.stem, path.suffix) == (name, ".toml")


# ---- what cannot be ------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, str]] = {
    "unknown key": (changed("sed", to=3), "Plan 'two': key 'sed': there is no such key; check its spelling."),
    "unknown key deep inside": (
        changed("modalities", "clinical", "encoder", "tokendim", to=3),
        "Plan 'two': key 'modalities.clinical.encoder.tabular.tokendim': there is no such key",
    ),
    "modality without encoder": (
        changed("modalities", "blood", to={"features": "equal"}),
        "Plan 'two': key 'modalities.blood.encoder': it is missing and has no default; add it",
    ),
    "hospital with a modality without encoder": (
        changed("modalities", "scan", to=None),
        "the simulated hospitals hold ['scan'], for which the plan has no encoder; its modalities are "
        "['clinical']; add [modalities.NAME.encoder], or take the modality out of the hospitals",
    ),
    "no modality": (changed("modalities", to={}), "key 'modalities': Dictionary should have at least 1 item"),
    "latent of one modality alone": (
        changed("modalities", "scan", "latent", to={"num-latents": 4}),
        "key 'modalities.scan.latent': there is no such key",
    ),
    "no privacy plan": (changed("privacy", to=None), "key 'privacy': it is missing and has no default"),
    "no task": (changed("task", to=None), "key 'task': it is missing and has no default; add it"),
    "unknown task": (changed("task", "kind", to="survivor"), "'classification', 'multi-label', 'survival'"),
    "unknown aggregation": (
        changed("aggregation", "kind", to="fedavrg"),
        "'fedavg', 'fedprox', 'fedadam', 'trimmed-mean'",
    ),
    "unknown merge": (changed("merging", "latents", to={"kind": "harmonic"}), "key 'merging.latents'"),
    "weight of an unknown modality": (
        changed("merging", "modality-weights", to={"clinical": 1.0, "blood": 2.0}),
        "merging.modality-weights names ['blood', 'clinical'] and the plan's modalities are "
        "['clinical', 'scan']; give every modality one weight",
    ),
    "weight missing": (
        changed("merging", "modality-weights", to={"clinical": 1.0}),
        "merging.modality-weights names ['clinical']",
    ),
    "no weight at all": (
        changed("merging", "modality-weights", to={}),
        "merging.modality-weights names []",
    ),
    "weights by a rule that there is not": (
        changed("merging", "modality-weights", to="test"),
        "key 'merging.modality-weights': there is no rule 'test' for the weights of modalities; write "
        "'validation', give every modality one number, or leave the key out for equal weights",
    ),
    "seed rounds of a one-shot run": (
        changed("rounds", to={"mode": "one-shot", "seed-rounds": 2}),
        "mode 'one-shot' has one upload and seed-rounds asks for 2 more; set seed-rounds to 0, or mode to "
        "'rounds'",
    ),
    "more seed rounds than rounds": (
        changed("rounds", to={"rounds": 2, "seed-rounds": 3}),
        "seed-rounds 3 is more than rounds 2",
    ),
    "no round": (changed("rounds", "rounds", to=0), "key 'rounds.rounds': Input should be greater than or"),
    "name unfit for a folder": (changed("name", to="../x"), "key 'name': String should match pattern"),
    "split that is not whole": (
        changed("split", to={"train": 0.5, "validation": 0.1, "test": 0.1}),
        "train, validation and test add up to 0.7 and must add up to 1",
    ),
    "hospitals of one name": (
        changed("simulation", "groups", to=[{"name": "x", "modalities": ["scan"]}] * 2),
        "two hospitals share a name among ['x', 'x']",
    ),
    "no waiting": (changed("participation", "round-seconds", to=0), "key 'participation.round-seconds'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_plan_that_cannot_be_is_refused_with_a_sentence(name):
    text, sentence = REFUSED[name]

    assert sentence in refused(text)


def test_every_mistake_is_told_at_once():
    text = changed("sed", to=3).replace('kind = "no-privacy"', 'kind = "none"')

    told = refused(text)

    assert "key 'sed'" in told
    assert "key 'privacy': Input tag 'none'" in told


class HidingPrivacy:
    """A privacy plan under which only the sum of updates can be read."""

    kind = "hiding"
    num_updates_shown = 1


def test_aggregation_that_must_see_updates_is_refused_where_they_are_hidden():
    plan = RunPlan.model_construct(aggregation=TrimmedMean(), privacy=HidingPrivacy())

    with pytest.raises(
        ValueError,
        match=r"^aggregation 'trimmed-mean' must compare 5 updates, and privacy 'hiding' shows 1 at most",
    ):
        plan._check_aggregation_may_see_updates()


def test_aggregation_that_must_see_updates_passes_where_they_are_shown():
    text = changed("aggregation", "kind", to="trimmed-mean")

    assert RunPlan.parse(text, where="x").privacy == NoPrivacy(kind="no-privacy")


# ---- what a plan tells -----------------------------------------------------------------------------


def test_modality_overrides_the_training_settings():
    plan = RunPlan.parse(PLAN, where="Plan 'two'")

    clinical, scan = plan.training_of("clinical"), plan.training_of("scan")

    assert (clinical.learning_rate, clinical.weight_decay) == (0.5, 0.125)
    assert scan == plan.training


def test_fuse_has_steps_of_its_own_and_shares_the_rest_of_training():
    blocks = TrainingSettings(weight_decay=0.5, clip_gradient=2.0, epochs=40, keep="last", dropout=False)
    fuse = Fuse(learning_rate=2e-3, batch_size=4, trunk_rate=0.2, dropout=True)
    shared = blocks.model_copy(update={"epochs": 3})
    own = {"learning_rate": 2e-3, "batch_size": 4, "trunk_rate": 0.2, "dropout": True}
    assert fuse.training(blocks, epochs=3) == shared.model_copy(update={**own, "keep": "mean"})
    assert fuse.training(blocks, epochs=3, last_round=False) == shared.model_copy(update=own)


def test_as_many_sites_are_expected_as_the_plan_plays():
    plan = RunPlan.parse(PLAN, where="Plan 'two'")

    assert plan.expected_sites == 4
    assert plan.model_copy(update={"participation": Participation(sites=2)}).expected_sites == 2
    assert plan.model_copy(update={"simulation": None}).expected_sites == 1


def test_weights_of_modalities_are_those_asked_for():
    text = changed("merging", "modality-weights", to={"clinical": 1.0, "scan": 2.0})
    plan = RunPlan.parse(text, where="x")

    assert plan.merging.weights_of(["scan"], scores={}, chance=0.5) == {"scan": 2.0}
    assert RunPlan.parse(PLAN, where="x").merging.weights_of(["scan"], scores={}, chance=0.5) is None
    assert not plan.merging.needs_scores


def test_weights_may_come_from_validation():
    plan = RunPlan.parse(changed("merging", "modality-weights", to="validation"), where="x")

    weights = plan.merging.weights_of(["scan"], scores={"scan": 0.75, "clinical": 0.5}, chance=0.5)

    assert plan.merging.needs_scores
    assert weights == {"scan": pytest.approx(0.35)}
    assert RunPlan.model_validate(plan.to_plain()) == plan


def test_weights_from_validation_need_every_score():
    with pytest.raises(MergeError, match=r"there are none of \['scan'\] among \['clinical'\]. Give every"):
        Merging(modality_weights="validation").weights_of(["scan"], scores={"clinical": 0.6}, chance=0.5)


def test_trunks_are_merged_as_the_plan_says_and_parts_stay_apart():
    merging = {"trunk": {"kind": "regmean", "gamma": 0.5}, "apart": ["norms", "feed-forward"]}

    plan = RunPlan.parse(changed("merging", to=merging), where="x")

    assert plan.merging.trunk == RegMean(gamma=0.5)
    assert plan.merging.apart == ("norms", "feed-forward")
    assert plan.merging.needs_grams
    assert RunPlan.model_validate(plan.to_plain()) == plan


def test_gram_matrices_are_needed_by_trunk_or_heads():
    assert Merging(heads=RegMean()).needs_grams
    assert Merging(trunk=RegMean()).needs_grams
    assert not Merging(trunk=Ties()).needs_grams


def test_parts_cannot_stay_apart_of_trunks_that_are_not_merged():
    with pytest.raises(
        PlanError, match=r"apart names \['norms'\] and no trunks are merged.*add merging.trunk"
    ):
        RunPlan.parse(changed("merging", "apart", to=["norms"]), where="x")


def test_a_part_that_trunks_do_not_have_is_refused_with_the_list():
    merging = {"trunk": {"kind": "linear"}, "apart": ["norm"]}

    with pytest.raises(PlanError, match=r"merging\.apart.*'latent', 'attention', 'feed-forward' or 'norms'"):
        RunPlan.parse(changed("merging", to=merging), where="x")


def test_rounds_may_all_be_seed_rounds():
    assert Rounds(rounds=2, seed_rounds=2).seed_rounds == 2


def test_plan_cannot_be_changed_once_read():
    with pytest.raises(ValueError, match="frozen"):
        RunPlan.parse(PLAN, where="x").seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("path", shipped_plans().values(), ids=lambda path: path.stem)
def test_shipped_plan_says_what_it_is_about(path: Path):
    plan = RunPlan.load(path)

    assert len(plan.description) > 40
