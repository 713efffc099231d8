"""Does the site hold what the plan is about, in the form that the plan expects?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core.assemble import build_block
from lego_core.manifest import read_manifest
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.records import ModalitySchema


@final
class Modalities(AbstractCheck):
    """Names are the plan's, the encoders can read the layouts, and features are those of an earlier run."""

    name = "modalities"
    asks = "Are the plan's modalities here, with the features that the others have?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        plan, here = premises.plan(), premises.cohort().schemas
        held = {name: here[name] for name in premises.held}
        measured = {f"features_of_{name}": schema.num_features for name, schema in held.items()}
        if not held:
            return self.fix(
                f"The plan is about {sorted(plan.modalities)}, and nobody here has any of it.",
                "Name the modalities in site.toml as the plan does ([data.modalities.NAME]).",
            )
        agreement = Agreement(schemas=held, task=plan.task)
        for name in held:
            build_block(plan, agreement, name)
        if premises.wish.bundle is not None:
            expected = read_manifest(premises.wish.bundle).agreement.schemas
            wrong = [line for name in held for line in _differences(name, held[name], expected, plan)]
            if wrong:
                return self.fix(
                    f"{len(wrong)} modalities differ from the run before: {wrong[0]}.",
                    "Rebuild the tables with that run's features, in any order.",
                    measured=measured,
                    details=wrong,
                )
        absent = [name for name in plan.modalities if name not in held]
        others = f"; {', '.join(absent)} of the plan is not held here" if absent else ""
        told = ", ".join(f"{name} ({one.layout}, {one.num_features} features)" for name, one in held.items())
        return self.passed(f"Held here: {told}{others}.", measured=measured)


def _differences(
    name: str, here: ModalitySchema, expected: dict[str, ModalitySchema], plan: RunPlan
) -> list[str]:
    if name not in expected:
        return [f"'{name}' was not in it"]
    there = expected[name]
    if (here.layout, here.grid) != (there.layout, there.grid):
        return [
            f"'{name}' has layout '{here.layout}' and grid {here.grid}, and had '{there.layout}' and "
            f"{there.grid}"
        ]
    missing = [one for one in there.features if one not in here.features]
    surplus = [one for one in here.features if one not in there.features]
    if missing:
        return [f"'{name}' lacks {len(missing)} features, the first is '{missing[0]}'"]
    if surplus and plan.modalities[name].features == "equal":
        return [f"'{name}' has {len(surplus)} features too many, the first is '{surplus[0]}'"]
    return []
