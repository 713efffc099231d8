"""Plans small enough for a test: a few hospitals, tiny blocks, made-up patients."""

import json
import tomllib
from typing import Any

from lego_core.plan import RunPlan

Shares = tuple[float, float, float]  # of training, validation and test patients
NO_TEST: Shares = (0.8, 0.2, 0.0)


def group(
    name: str, *modalities: str, hospitals: int = 1, share: float = 1.0, split: Shares = NO_TEST
) -> str:
    """Hospitals that hold the same modalities, as a plan has them."""
    train, validation, test = split
    return f"""
[[simulation.groups]]
name = "{name}"
modalities = {json.dumps(modalities)}
hospitals = {hospitals}
share = {share}
split = {{ train = {train}, validation = {validation}, test = {test} }}
"""


def patients_of(*groups: str, patients: int) -> str:
    """All the patients there are, and the groups of hospitals to which they go."""
    return f"\n[simulation.data]\npatients = {patients}\n{''.join(groups)}"


TINY_GROUPS = (
    group("clinic", "clinical", hospitals=2),
    group("lab", "blood"),
    group("teaching", "clinical", "blood", share=2, split=(0.4, 0.2, 0.4)),
)
CLINIC, OTHER_CLINIC, LAB, TEACHING, DISTRICT = range(5)  # the numbers of these sites
AND_A_DISTRICT = patients_of(
    *TINY_GROUPS, group("district", "blood", split=(0.5, 0.1, 0.4)), patients=260
)  # a site with test patients of one modality

WITHOUT_GROUPS = """
name = "tiny"
seed = 3

[task]
kind = "classification"
classes = ["0", "1"]

[privacy]
kind = "no-privacy"

[modalities.clinical.encoder]
kind = "tabular"
token-dim = 4
num-tokens = 1
hidden-dims = [4]

[modalities.blood.encoder]
kind = "tabular"
token-dim = 4
num-tokens = 1
hidden-dims = [4]

[latent]
num-latents = 2
latent-dim = 4
num-heads = 1
depth = 1

[rounds]
rounds = 2
local-epochs = 1

[evaluation]
bootstrap = 20

[participation]
wait-seconds = 0.1
round-seconds = 60

[simulation.data]
kind = "synthetic"
outcome = { kind = "class" }
modalities = { clinical = { layout = "table", features = 3 }, blood = { layout = "table", features = 2 } }
"""


def tiny_plan(changes: str = "") -> RunPlan:
    """The tiny plan, with what some TOML text puts in its place; a table put in is merged."""
    return RunPlan.model_validate(_merged(_tiny(), tomllib.loads(changes)))


def clinics_only(changes: str = "", *, hospitals: int, patients: int = 120) -> RunPlan:
    """The tiny plan with clinics of one modality only, each with test patients of its own."""
    plain = _tiny()
    del plain["modalities"]["blood"], plain["simulation"]["data"]["modalities"]["blood"]
    clinics = group("clinic", "clinical", hospitals=hospitals, split=(0.5, 0.1, 0.4))
    plain = _merged(plain, tomllib.loads(patients_of(clinics, patients=patients)))
    return RunPlan.model_validate(_merged(plain, tomllib.loads(changes)))


def with_survival(plan: RunPlan, *, num_bins: int = 2) -> RunPlan:
    """The same plan, but what is predicted is survival."""
    plain = plan.to_plain()
    plain["task"] = {"kind": "survival", "num-bins": num_bins}
    plain["simulation"]["data"]["outcome"] = {"kind": "survival"}
    return RunPlan.model_validate(plain)


def _tiny() -> dict[str, Any]:
    return _merged(tomllib.loads(WITHOUT_GROUPS), tomllib.loads(patients_of(*TINY_GROUPS, patients=200)))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {
        key: _merged(one[key], value) if isinstance(value, dict) and isinstance(one.get(key), dict) else value
        for key, value in other.items()
    }
    return {**one, **merged}
