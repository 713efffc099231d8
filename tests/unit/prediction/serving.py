"""A bundle of all four layouts and the patients it was made for; nothing in it is trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
import torch

from lego_core import Cohort
from lego_core.assemble import build_models
from lego_core.bundle import ModelBundle
from lego_core.datasets import OutcomeColumns, SurvivalOutcome, Synthetic, write_tables
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.recommendation import Recommendation
from lego_core.run_report import RunReport
from lego_core.statistics import FeatureStatistics
from lego_core.tasks import Task

MODALITIES = {
    "clinical": {"layout": "table", "features": 3, "missing": 0.2, "absent": 0.3},
    "visits": {"layout": "series", "features": 2, "longest": 4, "missing": 0.2, "absent": 0.3},
    "slide": {"layout": "bag", "features": 3, "largest": 5, "absent": 0.3},
    "scan": {"layout": "image", "size": [4, 4], "absent": 0.3},
}
ENCODERS = {
    "clinical": {"kind": "tabular", "token-dim": 6, "num-tokens": 2, "hidden-dims": [5]},
    "visits": {"kind": "time_series", "token-dim": 6, "time-unit-days": 365.0},
    "slide": {"kind": "patches", "token-dim": 6, "num-tokens": 2, "attention-dim": 4},
    "scan": {"kind": "image", "token-dim": 6, "stage-dims": [8]},
}
LATENT = {"num-latents": 3, "latent-dim": 8, "num-heads": 2}
TASKS = {
    "survival": {"kind": "survival", "num-bins": 3},
    "classification": {"kind": "classification", "classes": ["no", "a little", "yes"]},
    "multi-label": {"kind": "multi-label", "labels": ["cough", "fever"]},
}
OUTCOMES = {
    "survival": {"kind": "survival"},
    "classification": {"kind": "class", "classes": 3},
    "multi-label": {"kind": "labels", "labels": 2},
}


def made_up(task: str = "survival", *, patients: int = 60, absent: bool = True) -> Cohort:
    """Patients with any of the four modalities."""
    own = {name: {**one, **({} if absent else {"absent": 0.0})} for name, one in MODALITIES.items()}
    plain = {"patients": patients, "seed": 3, "outcome": OUTCOMES[task], "modalities": own}
    return Synthetic.model_validate(plain).load()


def bundle_of(
    cohort: Cohort,
    task: str = "survival",
    *,
    fused: bool = True,
    encoders: Mapping[str, Mapping[str, Any]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> ModelBundle:
    """A bundle whose blocks disagree as trained ones do; their normalisation is that of the patients."""
    chosen = {name: {"encoder": {**ENCODERS, **(encoders or {})}[name]} for name in cohort.schemas}
    plain = {"name": "four", "task": TASKS[task], "privacy": {"kind": "no-privacy"}, "modalities": chosen}
    plan = RunPlan.model_validate({**plain, "latent": LATENT, **(more or {})})
    trained_on = cohort.marked("train")
    agreed: Task = plan.task.agree(plan.task.summarise(trained_on))
    agreement = Agreement(schemas=dict(cohort.schemas), task=agreed)
    models = build_models(plan, agreement, list(cohort.schemas), with_fused=fused).eval()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for tensor in models.parameters():
            tensor.add_(0.5 * torch.randn(tensor.shape, generator=generator))
    for name, block in models.merged.blocks.items():
        block.normalise_with(FeatureStatistics.of(trained_on, name).normalisation())
        if models.fused:
            models.fused.blocks[name].normalise_with(FeatureStatistics.of(trained_on, name).normalisation())
    report = RunReport(
        plan=plan.name, description="", task=task, status="complete", started="2026-01-01T00:00:00",
        seconds=1.0, privacy_kind="no-privacy", privacy_claim="None.",
        recommendation=Recommendation(method="merge", sentence="Recommended: the merged model."),
    )  # fmt: skip
    return ModelBundle(models, plan, agreement, report)


def write_site(cohort: Cohort, folder: Path, *, outcome: OutcomeColumns | None = None) -> Path:
    """The folder of a site, with its description."""
    tables = write_tables(cohort, folder, outcome=outcome or SurvivalOutcome())
    (folder / "site.toml").write_text(tomli_w.dumps({"name": "here", "data": tables.to_plain()}))
    return folder
