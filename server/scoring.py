"""How good the models are: every site scores its own patients, and the scores are pooled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, final

from lego_core.assemble import build_models
from lego_core.errors import RunError
from lego_core.evaluation import ModelSet
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement, AskReport, ScoreRow, SiteReport
from lego_core.run_report import SiteCharts
from lego_core.sum_forms import tensor_hashes
from lego_core.summed_scores import Case, all_cases, is_offered
from server.ask_each import ask_each
from server.asked import Asked
from server.exchange import Exchange
from server.participants import Participant
from server.site_reports import read_report
from server.sums import SumOffice

Reports = dict[tuple[str, ...], SiteReport]  # by the names of the sites that a report speaks for


@final
@dataclass(frozen=True)
class Scored:
    """What the sites say of the models.

    Args:
        reports: One for each site; or, where no site's own scores are seen, one for all sites that
            scored the same patients' models together.
        charts: What charts need, site by site.
    """

    reports: Reports
    charts: list[SiteCharts] = field(default_factory=list)


@final
@dataclass(frozen=True)
class Scoring:
    """The last questions of a run.

    Args:
        plan: The run's plan.
        agreement: What the sites agreed on.
        members: The sites, with the modalities that each holds in the agreed form.
        models: The models to score.
    """

    plan: RunPlan
    agreement: Agreement
    members: Sequence[tuple[Participant, tuple[str, ...]]]
    models: ModelSet

    def in_the_open(self, exchange: Exchange) -> Scored:
        """Read every site's report by itself; one that cannot be read is left out by name.

        Raises:
            RunError: If no site gives one.
        """
        read = ask_each(
            exchange,
            [self._ask(member, held) for member, held in self.members],
            self._read_report,
            wait_seconds=self.plan.participation.round_seconds,
            phase="evaluate",
            round_number=1,
        )
        reports: Reports = {(one.member.site,): report for one, report in read}
        if not reports:
            raise RunError("No site could evaluate the models. See who was left out and why.")
        charts = [SiteCharts(site=sites[0], rows=reports[sites].charts) for sites in sorted(reports)]
        return Scored(reports, charts)

    def _read_report(self, one: Asked, letter: Letter) -> SiteReport:
        return read_report(
            letter, question=cast(AskReport, one.question), site=one.member.site, plan=self.plan
        )

    def unseen(self, office: SumOffice) -> Scored:
        """Read what the sites' scores come to, for patients that enough sites have; no site's own are seen.

        Where there are no such patients, all scores are withheld.

        Raises:
            RunError: If every sum stays closed.
        """
        offered = {
            member.site: [case for case in self._cases(held) if is_offered(case, member.offer)]
            for member, held in self.members
        }
        cases = {case.form.group: case for own in offered.values() for case in own}
        there = {group: sum(case in own for own in offered.values()) for group, case in cases.items()}
        enough = {group: case for group, case in cases.items() if there[group] >= office.terms.fewest}
        asked = [
            self._ask(
                member,
                held,
                tuple(case.form.group for case in offered[member.site] if case.form.group in enough),
            )
            for member, held in self.members
        ]
        asked = [one for one in asked if one.groups]
        forms = {group: case.form for group, case in enough.items()}
        opened, closed = office.add_up(forms, asked, phase="evaluate", round_number=0)
        if closed and not opened:
            raise RunError(f"No scores could be summed: {'; '.join(sorted(set(closed.values())))}")
        rows: dict[tuple[str, ...], dict[str, list[ScoreRow]]] = {}
        for group, summed in opened.items():
            case = enough[group]
            kind = "validation" if case.patients == "validation" else "scores"
            own = rows.setdefault(summed.sites, {"validation": [], "scores": []})
            own[kind] += case.from_sums(summed.numbers.numbers)
        withheld = [case for group, case in cases.items() if group not in opened]
        return Scored(_with_withheld(rows, withheld))

    def _ask(self, member: Participant, held: tuple[str, ...], groups: tuple[str, ...] = ()) -> Asked:
        state, with_fused = self.models.state_dict(), self.models.fused is not None
        needed = build_models(self.plan, self.agreement, held, with_fused=with_fused)
        question = AskReport(
            agreement=self.agreement,
            modalities=held,
            with_fused=with_fused,
            weights=tensor_hashes(state) if groups else {},
        )
        return Asked(member, question, groups, tensors={name: state[name] for name in needed.state_dict()})

    def _cases(self, held: tuple[str, ...]) -> list[Case]:
        return all_cases(
            tuple(self.agreement.schemas),
            held,
            bootstrap=self.plan.evaluation.bootstrap,
            with_fused=self.models.fused is not None,
        )


def _with_withheld(
    rows: Mapping[tuple[str, ...], Mapping[str, list[ScoreRow]]], withheld: Sequence[Case]
) -> Reports:
    """One report for each group of sites; what no group could score is counted in the first."""
    to_choose = sum(case.num_scores for case in withheld if case.patients == "validation")
    to_tell = sum(case.num_scores for case in withheld if case.patients != "validation")
    reports: Reports = {}
    for sites in sorted(rows) or [()]:
        is_first = not reports
        reports[sites] = SiteReport(
            scores=tuple(rows[sites]["scores"]) if rows else (),
            validation=tuple(rows[sites]["validation"]) if rows else (),
            withheld=to_tell if is_first else 0,
            validation_withheld=to_choose if is_first else 0,
        )
    return reports
