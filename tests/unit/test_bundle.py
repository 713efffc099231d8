"""The bundle: the same models after disk and back, and no changed byte goes unseen."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from blocks import tiny_cohort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report.sample_reports import survival_report

from lego_core import Cohort
from lego_core.assemble import build_models
from lego_core.bundle import ModelBundle, hash_of_state, read_manifest, versions
from lego_core.errors import BundleError, DataError
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.run_report import RunReport
from lego_core.tasks import Survival

FILES = ("weights.safetensors", "manifest.json", "report.json", "card.md")
PLAN = """
name = "two"
[task]
kind = "survival"
num-bins = 3
[privacy]
kind = "no-privacy"
[modalities.a.encoder]
kind = "tabular"
token-dim = 4
hidden-dims = [4]
[modalities.b.encoder]
kind = "tabular"
token-dim = 4
hidden-dims = [4]
[latent]
num-latents = 2
latent-dim = 4
num-heads = 1
"""


def tiny_bundle(*, fused: bool = False) -> ModelBundle:
    plan = RunPlan.parse(PLAN + ("[fuse]\norder = 'weave'\n" if fused else ""), where="x")
    agreement = Agreement(
        schemas=dict(tiny_cohort(["ab"]).schemas), task=Survival(num_bins=3, bin_edges_days=(10.0, 20.0))
    )
    models = build_models(plan, agreement, ["a", "b"], with_fused=fused).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for tensor in (*models.parameters(), *models.buffers()):
            tensor.add_(torch.rand(tensor.shape, generator=generator))
    report = RunReport(
        plan="two", description="", task="survival", status="complete", started="2026-01-01T00:00:00",
        seconds=1.0, privacy_kind="no-privacy", privacy_claim="None.", versions=versions(),
    )  # fmt: skip
    return ModelBundle(models, plan, agreement, report)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "two"
    tiny_bundle().save(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(saved, tmp_path / "two"))


def patients() -> Cohort:
    return tiny_cohort(["a", "b", "ab", "ab", "b"], seed=7)


# ---- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
def test_models_come_back_as_they_were_saved(tmp_path, fused):
    bundle = tiny_bundle(fused=fused)
    bundle.save(tmp_path / "two")

    again = ModelBundle.load(tmp_path / "two")

    assert hash_of_state(again.models.state_dict()) == hash_of_state(bundle.models.state_dict())
    assert (again.plan, again.agreement, again.report) == (bundle.plan, bundle.agreement, bundle.report)


def test_recommendation_and_hindsight_come_back(tmp_path):
    bundle = replace(tiny_bundle(), report=survival_report())
    bundle.save(tmp_path / "two")

    again = ModelBundle.load(tmp_path / "two").report

    assert again.recommendation == bundle.report.recommendation
    assert again.recommendation.gain is not None
    assert again.hindsight == bundle.report.hindsight
    assert len(again.hindsight.agreement) == 4
    assert again == bundle.report


def test_report_of_an_earlier_version_has_no_recommendation():
    plain = tiny_bundle().report.model_dump(mode="json", exclude={"recommendation", "hindsight"})

    assert RunReport.model_validate(plain).recommendation is None


@pytest.mark.parametrize("fused", [False, True])
def test_predictions_come_back_as_they_were(tmp_path, fused):
    bundle = tiny_bundle(fused=fused)
    bundle.save(tmp_path / "two")

    again = ModelBundle.load(str(tmp_path / "two"))

    assert torch.equal(again.predict(patients()), bundle.predict(patients()))


def test_model_is_one_line_away(saved):
    model = ModelBundle.load(saved).model

    assert model(patients().batch()).shape == (5, 3)
    assert not model.training


def test_model_is_the_fused_one_where_there_is_one():
    merged, fused = tiny_bundle(), tiny_bundle(fused=True)

    assert merged.model is merged.models.merged
    assert fused.model is fused.models.fused


def test_saving_twice_writes_the_same_bytes(saved, tmp_path):
    tiny_bundle().save(tmp_path / "two")

    assert all((tmp_path / "two" / name).read_bytes() == (saved / name).read_bytes() for name in FILES)


def test_saving_replaces_what_was_there_and_leaves_nothing_behind(copied):
    (copied / "old.txt").write_text("old")

    tiny_bundle(fused=True).save(copied)

    assert sorted(path.name for path in copied.iterdir()) == sorted(FILES)
    assert [path.name for path in copied.parent.iterdir()] == ["two"]
    assert ModelBundle.load(copied).models.fused is not None


def test_manifest_gives_the_hash_of_every_block(saved):
    blocks = ModelBundle.load(saved).models.merged.blocks

    assert read_manifest(saved).blocks == {
        name: hash_of_state(block.state_dict()) for name, block in blocks.items()
    }


def test_hash_of_a_state_tells_names_shapes_and_values_apart():
    states = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0.0, 0.0, 0.0, 1e-30])},
    ]

    assert len({hash_of_state(state) for state in states}) == len(states)


def test_hash_of_a_state_does_not_depend_on_order_or_memory():
    matrix = torch.arange(6.0).reshape(2, 3)
    one = {"a": matrix, "b": torch.ones(1)}
    other = {"b": torch.ones(1), "a": matrix.T.contiguous().T}

    assert hash_of_state(one) == hash_of_state(other)


# ---- prediction ------------------------------------------------------------------------------------


def test_order_of_features_does_not_matter(saved):
    bundle, cohort = ModelBundle.load(saved), patients()
    turned = cohort.with_features("a", ("b", "a"))

    assert turned.schemas["a"].features == ("b", "a")
    assert torch.equal(bundle.predict(turned), bundle.predict(cohort))


def test_missing_feature_is_told(saved):
    cohort = patients().with_features("a", ("b",))

    with pytest.raises(
        DataError, match=r"^Modality 'a' has 1 features here and the run expects 2; 1 of them"
    ):
        ModelBundle.load(saved).predict(cohort)


def test_patient_without_a_known_modality_is_told(saved):
    strange = tiny_cohort(["a", "z"])

    with pytest.raises(DataError, match=r"^1 of 2 patients have none of the modalities \['a', 'b'\]"):
        ModelBundle.load(saved).predict(strange)


def test_raw_measurements_are_normalised_as_agreed(saved):
    bundle = ModelBundle.load(saved)
    block = bundle.models.merged.blocks["a"]
    cohort = tiny_cohort(["a"])
    measurement = cohort.records[0].modalities["a"]
    mean = replace(measurement, values=block.feature_mean[None].clone())
    shifted = replace(cohort.records[0], modalities={"a": mean})

    tokens_in = []
    block.encoder.register_forward_pre_hook(lambda _, inputs: tokens_in.append(inputs[0].values))
    bundle.predict(cohort.keep([shifted]))

    assert torch.equal(tokens_in[0], torch.zeros(1, 1, 2))


# ---- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_changed_byte_is_seen(copied, name, data):
    content = (copied / name).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    (copied / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])

    with pytest.raises(BundleError, match=r"'two'"):
        ModelBundle.load(copied)

    (copied / name).write_bytes(content)


def test_changed_file_is_named_with_both_hashes(copied):
    (copied / "card.md").write_text("We are the best.")

    with pytest.raises(
        BundleError,
        match=r"^Bundle 'two': file 'card.md' has hash \w{12}… and the manifest says \w{12}…\. It was",
    ):
        ModelBundle.load(copied)


def test_changed_manifest_is_told(copied):
    text = (copied / "manifest.json").read_text()
    (copied / "manifest.json").write_text(text.replace('"seed": 0', '"seed": 1'))

    with pytest.raises(
        BundleError, match=r"^Bundle 'two': its manifest.json was changed or damaged; copy the"
    ):
        ModelBundle.load(copied)


def test_cut_file_is_told(copied):
    content = (copied / "weights.safetensors").read_bytes()
    (copied / "weights.safetensors").write_bytes(content[:-1])

    with pytest.raises(BundleError, match=r"file 'weights.safetensors' has hash"):
        ModelBundle.load(copied)


@pytest.mark.parametrize("name", [name for name in FILES if name != "manifest.json"])
def test_missing_file_is_named(copied, name):
    (copied / name).unlink()

    with pytest.raises(
        BundleError, match=rf"^Bundle 'two' has no file '{name}'\. Copy the whole folder again"
    ):
        ModelBundle.load(copied)


@pytest.mark.parametrize("number", [2, 0, "1", None])
def test_other_format_is_refused_with_both_versions(copied, number):
    plain = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**plain, "format": number, "novelty": True}))

    with pytest.raises(
        BundleError,
        match=rf"^Bundle 'two' has format {number!r}, and lego_core [0-9.]+ reads format 1\. Install a newer",
    ):
        ModelBundle.load(copied)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "3", "null"])
def test_folder_whose_manifest_is_none_is_no_bundle(copied, content):
    (copied / "manifest.json").write_text(content)

    with pytest.raises(
        BundleError, match=r"^'two' is not a bundle: its manifest.json is missing or not JSON"
    ):
        ModelBundle.load(copied)


def test_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"is not a bundle") as error:
        ModelBundle.load(tmp_path)

    assert str(tmp_path) not in error.value.public


# ---- no pickle ------------------------------------------------------------------------------------------


def test_no_file_of_a_bundle_is_a_pickle(saved):
    for name in FILES:
        assert not (saved / name).read_bytes().startswith((b"\x80", b"PK"))


def test_no_code_reads_or_writes_pickles():
    root = Path(__file__).resolve().parents[2]
    pickling = re.compile(r"\bimport pickle|\bfrom pickle|torch\.(load|save)\(|allow_pickle=True|read_pickle")

    sources = [path for folder in ("lego_core", "client", "server") for path in (root / folder).rglob("*.py")]

    assert len(sources) > 20
    assert not [path.name for path in sources if pickling.search(path.read_text())]


def test_weights_of_other_code_are_refused(tmp_path, monkeypatch):
    tiny_bundle().save(tmp_path / "two")
    monkeypatch.setattr("lego_core.bundle.build_models", lambda *_, **__: torch.nn.Linear(1, 1))

    with pytest.raises(
        BundleError, match="its weights do not fit the models that this version of the code builds"
    ):
        ModelBundle.load(tmp_path / "two")
