"""What a site says of the models: read, and refused where it cannot be."""

from collections.abc import Sequence
from math import isfinite

from lego_core.errors import ProtocolError
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import AskReport, ScoreRow, SiteReport


def read_report(letter: Letter, *, question: AskReport, site: str, plan: RunPlan) -> SiteReport:
    """Read a site's report and make sure that it can be pooled with the others.

    Args:
        letter: What the site sent.
        question: What it was asked.
        site: Its name.
        plan: The run's plan.

    Raises:
        ProtocolError: If a row is not of a model that was asked about, or holds what no
            faithful site would send.
    """
    report = SiteReport.read(letter)
    every = set(question.agreement.schemas)
    rows = (*report.scores, *report.validation)
    faults = [fault for row in rows if (fault := _fault_of(row, question=question, plan=plan))]
    faults += [fault for row in report.validation if (fault := _fault_of_choice(row, every=every))]
    for part in (report.scores, report.validation):
        about = [(row.patients, row.method, row.modalities) for row in part]
        if len(set(about)) < len(about):
            faults.append("a model that it scored more than once on the same patients")
    if faults:
        raise ProtocolError(
            f"Site '{site}' sent a report with {faults[0]}. The report was put aside; run "
            "the same code and plan at both ends."
        )
    return report


def _fault_of(row: ScoreRow, *, question: AskReport, plan: RunPlan) -> str:
    smallest, resamples = plan.evaluation.smallest_count, plan.evaluation.bootstrap
    if not row.modalities or not _is_part(row.modalities, question.modalities):
        return f"a score for modalities {list(row.modalities)} where {list(question.modalities)} were asked"
    if row.method == "fuse" and not question.with_fused:
        return "a score for method 'fuse' and no fused model was sent"
    if row.count < smallest:
        return f"a score of {row.count} patients and this run withholds scores of fewer than {smallest}"
    if len(row.resampled) != resamples:
        return f"{len(row.resampled)} resamples and this run asks for {resamples}"
    for value, pairs in ((row.value, row.pairs), *row.resampled):
        if not 0 <= value <= 1:
            return f"a score of {value:g}, which is not a number from 0 to 1"
        if not (isfinite(pairs) and pairs >= 0):
            return f"{pairs:g} comparable pairs, which is not a number that can be"
    return ""


def _fault_of_choice(row: ScoreRow, *, every: set[str]) -> str:
    if row.patients != "complete":
        return f"a validation score of patients '{row.patients}', where only complete ones can choose a model"
    if set(row.modalities) != every and (row.method != "block" or len(row.modalities) > 1):
        return f"a validation score of method '{row.method}' for modalities {list(row.modalities)} alone"
    return ""


def _is_part(some: Sequence[str], every: Sequence[str]) -> bool:
    return tuple(some) == tuple(name for name in every if name in some)
