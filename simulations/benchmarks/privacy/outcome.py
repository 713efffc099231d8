"""What the pieces of an examination come to: the rows, and how well the models predict."""

import json
from collections.abc import Iterator

import numpy as np

from lego_core.run_report import Examined
from simulations.benchmarks.privacy.canaries import Guessed, least_epsilon, together
from simulations.benchmarks.privacy.counting import area_over_models, rate_over_models
from simulations.benchmarks.privacy.examination import Examination, Piece
from simulations.benchmarks.privacy.findings import MERGE, METRIC_OF, alarms_row, canary_row, membership_row
from simulations.benchmarks.privacy.membership import Losses, likelihood_ratio, loss_threshold

ATTACKS = {"loss threshold": loss_threshold, "likelihood ratio": likelihood_ratio}


def rows_of(examination: Examination) -> list[Examined]:
    """All attacks, plan by plan."""
    return [
        row
        for plan in examination.protections
        for row in (
            *_membership(examination, plan),
            *_inversion(examination, plan),
            _canaries(examination, plan),
        )
    ]


def utility_of(examination: Examination) -> dict[str, dict[str, float]]:
    """The task's metric on strangers, by plan and model: the mean over all trainings."""
    found: dict[str, dict[str, float]] = {}
    for plan in examination.protections:
        said = _membership_pieces(examination, plan)
        names = [name for name in said[0] if name.startswith(METRIC_OF)]
        found[plan] = {
            name.removeprefix(METRIC_OF): float(np.mean([each[name] for each in said])) for name in names
        }
    return found


def _membership(examination: Examination, plan: str) -> Iterator[Examined]:
    said, member = _membership_pieces(examination, plan), examination.member()
    for model in (name for name in said[0] if not name.startswith(METRIC_OF)):
        blocks = len(examination.patients.modalities) if model == MERGE else 1
        promised = examination.protections[plan].promised(examination.course(blocks=blocks))
        seen = Losses(np.stack([each[model] for each in said]), member)
        for attack, rule in ATTACKS.items():
            scores, seed = rule(seen), examination.seed
            named = {"attack": attack, "model": model, "plan": plan, "claimed": promised and promised.epsilon}
            yield membership_row(area_over_models(scores, member, seed=seed), **named)
            yield alarms_row(rate_over_models(scores, member, seed=seed), **named)


def _membership_pieces(examination: Examination, plan: str) -> list[dict[str, np.ndarray]]:
    pieces = [Piece(plan, "membership", number) for number in range(2 * examination.extent.pairs)]
    said = []
    for piece in pieces:
        with np.load(examination.path(piece), allow_pickle=False) as arrays:
            said.append(dict(arrays))
    return said


def _inversion(examination: Examination, plan: str) -> Iterator[Examined]:
    for number in range(len(examination.patients.modalities)):
        kept = json.loads(examination.path(Piece(plan, "inversion", number)).read_bytes())
        yield from (Examined.model_validate(row) for row in kept)


def _canaries(examination: Examination, plan: str) -> Examined:
    pieces = [Piece(plan, "canaries", number) for number in range(examination.extent.runs)]
    each = [Guessed(**json.loads(examination.path(piece).read_bytes())) for piece in pieces]
    courses = [examination.course(members=one.members) for one in each]
    promised = [found for course in courses if (found := examination.protections[plan].promised(course))]
    claimed = max((one.epsilon for one in promised), default=None)
    least = least_epsilon(together(each), delta=max((one.delta for one in promised), default=0.0))
    model = f"block {examination.audited()}"
    return canary_row(together(each), least, model=model, plan=plan, claimed=claimed)
