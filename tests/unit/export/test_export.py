"""A graph says what its bundle says: every encoder, every model, every subset, any number of patients."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from prediction.serving import bundle_of, made_up
from typer.testing import CliRunner

from lego_core.bundle import ModelBundle
from lego_core.cli import app
from lego_core.encoders import Encoder
from lego_core.errors import ExportError
from lego_core.export import _export as exporting
from lego_core.export import export_onnx
from lego_core.export._inputs import as_tensors
from lego_core.export._latents import combine
from lego_core.export._pair import Pair, RealFourier
from lego_core.merging import HarmonicMean, LatentMerge, Mean
from lego_core.prediction import choose_model, predict
from lego_core.records import Cohort
from lego_core.spectral import to_frequency, to_signal

COHORT = made_up(patients=40)
BUNDLE = bundle_of(COHORT)

# Every shipped encoder, on every layout that it has a form for: modality and settings.
ENCODERS = {
    "tabular": ("clinical", {"kind": "tabular", "token-dim": 6, "hidden-dims": [5]}),
    "tabular waves": ("clinical", {"kind": "tabular", "token-dim": 6, "waves": 7}),
    "patches": ("slide", {"kind": "patches", "token-dim": 6, "attention-dim": 4}),
    "image": ("scan", {"kind": "image", "token-dim": 6, "stage-dims": [8, 8]}),
    "time_series": ("visits", {"kind": "time_series", "token-dim": 6, "num-layers": 2}),
    "transformer table": ("clinical", {"kind": "transformer", "token-dim": 8, "num-heads": 2}),
    "transformer series": ("visits", {"kind": "transformer", "token-dim": 8, "num-heads": 2}),
    "transformer bag": ("slide", {"kind": "transformer", "token-dim": 8, "num-heads": 2}),
    "transformer image": ("scan", {"kind": "transformer", "token-dim": 8, "num-heads": 2}),
    "module table": (
        "clinical",
        {"kind": "module", "source": "torch.nn:Linear", "arguments": {"in_features": 3, "out_features": 4}},
    ),
}


def run(content: bytes, cohort: Cohort, bundle: ModelBundle, modalities: tuple[str, ...]) -> np.ndarray:
    """What ONNX Runtime says of patients."""
    schemas = {name: bundle.agreement.schemas[name] for name in modalities}
    tensors = as_tensors(cohort.only(*modalities).batch().inputs, schemas)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    named = {one.name: tensor.numpy() for one, tensor in zip(session.get_inputs(), tensors, strict=True)}
    return session.run(None, named)[0]


def said(bundle: ModelBundle, cohort: Cohort, model: str) -> np.ndarray:
    """The survival curves that `predict` writes, without the end of the last bin."""
    return predict(bundle, cohort, model=model).filter(regex=r"^survival_.*d$").to_numpy(dtype=np.float64)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and its block as ONNX."""
    folder = tmp_path_factory.mktemp("exported")
    bundle_of(COHORT.only("clinical"), fused=False).save(folder / "bundle")
    given = ["export", str(folder / "bundle"), "--onnx", str(folder / "out"), "--modality", "clinical"]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "the largest difference from the bundle is" in done.stdout
    return folder


# ---- the pieces -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_latents", "latent_dim"), [(1, 2), (3, 4), (8, 32), (5, 7)])
def test_products_of_matrices_are_the_fourier_transform(num_latents, latent_dim):
    latent = torch.randn(4, num_latents, latent_dim, generator=torch.Generator().manual_seed(1))
    other = torch.randn(4, num_latents, latent_dim, generator=torch.Generator().manual_seed(2))
    fourier = RealFourier(num_latents, latent_dim)

    there, wanted = fourier.enter(latent), to_frequency(latent)

    torch.testing.assert_close(there.real, wanted.real, rtol=0, atol=2e-6)
    torch.testing.assert_close(there.imag, wanted.imag, rtol=0, atol=2e-6)
    changed = torch.complex(other, wanted.imag)
    torch.testing.assert_close(fourier.leave(Pair(other, there.imag)), to_signal(changed), rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", [Mean(), HarmonicMean(), HarmonicMean(phase="published")])
def test_latents_merge_in_pairs_as_in_complex_numbers(method):
    generator = torch.Generator().manual_seed(5)
    real, imag = torch.randn(2, 3, 6, 4, 8, generator=generator)
    shares = torch.tensor([[1.0, 0, 0, 0.5, 0.2, 0.3], [0, 1, 0, 0.5, 0, 0.3], [0, 0, 1, 0, 0.8, 0.4]])
    real[:, 5, 0, 0] = imag[:, 5, 0, 0] = 0.0
    imag[:, 4] = 0.0
    real[0, 1, 0, 0] = torch.nan  # the patient lacks it

    merged = combine(method, Pair(real, imag), shares)

    wanted = method.combine(torch.complex(real, imag), shares)
    torch.testing.assert_close(merged.real, wanted.real, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(merged.imag, wanted.imag, rtol=1e-4, atol=1e-5)


def test_every_way_to_merge_latents_has_a_form_in_pairs():
    ones = torch.ones(2, 1, 2, 2)
    for kind in get_args(get_args(LatentMerge)[0]):
        combine(kind(), Pair(ones, ones), torch.tensor([[0.5], [0.5]]))


def test_every_shipped_encoder_is_among_the_tests_below():
    kinds = {kind.model_fields["kind"].default for kind in get_args(get_args(Encoder)[0])}

    assert kinds == {settings["kind"] for _, settings in ENCODERS.values()}


# ---- whole graphs ---------------------------------------------------------------------------------


def assert_graph_is_block(name: str) -> None:
    modality, settings = ENCODERS[name]
    bundle = bundle_of(COHORT.only(modality), encoders={modality: settings}, fused=False)
    choice = choose_model(bundle, f"block:{modality}")

    exported = export_onnx(bundle, choice)

    for patients in (COHORT.holding(modality), COHORT.keep([COHORT.holding(modality).records[0]])):
        found = run(exported.content, patients, bundle, (modality,))
        np.testing.assert_allclose(found[:, :-1], said(bundle, patients, choice.name), rtol=0, atol=1e-5)
    assert exported.largest_difference <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ENCODERS))
def test_a_graph_of_every_encoder_says_what_its_block_says(name):
    assert_graph_is_block(name)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["merge", "fuse", "ensemble"])
def test_a_graph_of_all_modalities_says_what_the_model_says_of_every_subset(model):
    choice = choose_model(BUNDLE, model)
    exported = export_onnx(BUNDLE, choice)

    patients = COHORT.keep(record for record in COHORT.records if record.modalities)
    found = run(exported.content, patients, BUNDLE, choice.modalities)

    assert len({frozenset(record.modalities) for record in patients.records}) > 6
    allowed = 1e-5 + 5 * exported.description["checked"]["largest rounding of the bundle"]
    np.testing.assert_allclose(found[:, :-1], said(BUNDLE, patients, model), rtol=0, atol=allowed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"latent": {"num-latents": 3, "latent-dim": 8, "num-heads": 2, "domain": "signal"}},
        {"latent": {"num-latents": 3, "latent-dim": 8, "num-heads": 2, "phase": "dropped", "depth": 3}},
        {"merging": {"trunk": {"kind": "linear"}, "heads": {"kind": "linear"}}},
        {"merging": {"latents": {"kind": "mean"}, "modality-weights": {"clinical": 3.0, "scan": 1.0}}},
        {"fuse": {"order": "weave"}},
    ],
)
def test_a_graph_follows_what_the_plan_chose(more):
    cohort = COHORT.only("clinical", "scan")
    bundle = bundle_of(cohort, more=more)

    exported = export_onnx(bundle, choose_model(bundle, "fuse" if "fuse" in more else "merge"))

    assert exported.largest_difference < 1e-4


def test_who_has_nothing_gets_no_number(written):
    session = onnxruntime.InferenceSession((written / "out" / "block-clinical.onnx").read_bytes())

    [found] = session.run(
        None, {"clinical.values": np.array([[np.nan] * 3, [1.0, np.nan, 2.0]], dtype=np.float32)}
    )

    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


# ---- what is refused ------------------------------------------------------------------------------


def test_a_graph_that_says_something_else_is_refused_and_nothing_is_left(tmp_path, monkeypatch):
    bundle_of(COHORT.only("clinical"), fused=False).save(tmp_path / "bundle")
    honest: Callable = exporting.run_graph
    monkeypatch.setattr(exporting, "run_graph", lambda content, tensors: honest(content, tensors) + 2e-5)

    done = CliRunner().invoke(
        app, ["export", str(tmp_path / "bundle"), "--onnx", str(tmp_path / "out"), "--modality", "clinical"]
    )

    assert done.exit_code == 2
    assert "says something else than the bundle" in done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_graph_that_says_no_number_is_refused(monkeypatch):
    bundle = bundle_of(COHORT.only("clinical"), fused=False)
    honest: Callable = exporting.run_graph
    monkeypatch.setattr(exporting, "run_graph", lambda content, tensors: honest(content, tensors) * torch.nan)

    with pytest.raises(ExportError, match="says something else"):
        export_onnx(bundle, choose_model(bundle, "block:clinical"))


def test_without_the_packages_it_is_said_which_extra_brings_them(monkeypatch):
    from lego_core.export import _graph

    def missing(name: str) -> object:
        if name == "onnxscript":
            raise ImportError
        return import_module(name)

    monkeypatch.setattr(_graph, "import_module", missing)
    bundle = bundle_of(COHORT.only("clinical"), fused=False)

    with pytest.raises(
        ExportError, match=r"'onnxscript' is needed and is not installed.*lego-federation\[export\]"
    ):
        export_onnx(bundle, choose_model(bundle, "block:clinical"))


@pytest.mark.slow
def test_a_module_that_is_fed_by_length_is_refused_with_a_way_out():
    settings = {
        "kind": "module",
        "source": "torch.nn:Linear",
        "arguments": {"in_features": 3, "out_features": 4},
    }
    bundle = bundle_of(COHORT.only("slide"), encoders={"slide": settings}, fused=False)

    with pytest.raises(
        ExportError, match="Encoders of kind 'module' most often are what does; export the other"
    ):
        export_onnx(bundle, choose_model(bundle, "block:slide"))


# ---- what lies beside it --------------------------------------------------------------------------


def test_the_command_writes_a_file_and_what_it_takes(written):
    bundle = ModelBundle.load(written / "bundle")

    assert {path.name for path in (written / "out").iterdir()} == {
        "block-clinical.onnx",
        "block-clinical.json",
    }
    about = json.loads((written / "out" / "block-clinical.json").read_text())
    assert about["bundle sha256"] == ModelBundle.load(written / "bundle").sha256
    assert about["inputs"] == [{"name": "clinical.values", "axes": ["patients", 3], "type": "float32"}]
    assert [one["name"] for one in about["modalities"]["clinical"]["features"]] == [
        f"feature-{n}" for n in range(3)
    ]
    means = bundle.models.merged.blocks["clinical"].feature_mean.tolist()
    assert [one["mean"] for one in about["modalities"]["clinical"]["features"]] == pytest.approx(means)
    assert about["checked"]["largest difference"] <= 1e-5
    assert len(about["output"]["columns"]) == 3
    graph = onnx.load(written / "out" / "block-clinical.onnx")
    inside = {one.key: one.value for one in graph.metadata_props}
    assert inside["bundle sha256"] == about["bundle sha256"]
    assert json.loads(inside["checked"]) == about["checked"]


def test_a_file_says_what_its_block_says(written):
    content = (written / "out" / "block-clinical.onnx").read_bytes()
    bundle, patients = ModelBundle.load(written / "bundle"), COHORT.only("clinical")

    found = run(content, patients, bundle, ("clinical",))

    np.testing.assert_allclose(found[:, :-1], said(bundle, patients, "block:clinical"), rtol=0, atol=1e-5)


def test_no_folder_of_the_machine_is_in_the_file(written):
    content = (written / "out" / "block-clinical.onnx").read_bytes()

    assert str(Path(exporting.__file__).parents[2]).encode() not in content
    assert b".py" not in content
