"""A run's state as Prometheus metrics."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from deploy.seeing.clock import elapsed_seconds, seconds_since
from deploy.seeing.run_state import RunState
from deploy.seeing.view import is_online, shown_status
from deploy.seeing.words import PHASES, STATUS

SECONDS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # bounds of the histogram


def metrics_text(states: Mapping[str, RunState], *, now: datetime) -> tuple[bytes, str]:
    """All runs in Prometheus' text format, and its content type.

    Args:
        states: By the name of the run, which becomes the label `run`.
        now: The time of the look.
    """
    registry = CollectorRegistry()
    registry.register(RunMetrics(states, now=now))
    return generate_latest(registry), CONTENT_TYPE_LATEST


@final
class RunMetrics(Collector):
    """What Prometheus is told of some runs.

    Args:
        states: By the name of the run.
        now: The time of the look.
    """

    def __init__(self, states: Mapping[str, RunState], *, now: datetime) -> None:
        self._states = states
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        yield from self._of_runs()
        yield from self._of_sites()
        yield from self._of_models()
        yield self._answer_seconds()
        yield self._events()

    def _of_runs(self) -> Iterator[Metric]:
        status = GaugeMetricFamily("lego_run_status", "1 for the run's status.", labels=["run", "status"])
        phase = GaugeMetricFamily("lego_run_phase", "1 for the run's phase.", labels=["run", "phase"])
        numbers = {
            "lego_run_finished": ("1 if the coordinator has written its last line.", lambda s: s.ended),
            "lego_run_round": ("Round of the phase.", lambda s: s.round),
            "lego_run_rounds": ("Rounds of the phase, at most.", lambda s: s.rounds),
            "lego_run_elapsed_seconds": ("Time since the run began.", self._elapsed),
            "lego_run_silent_seconds": ("Time since the last event of a run that goes on.", self._silent),
            "lego_run_log_faults": ("Lines of the run log that do not hold.", lambda s: len(s.faults)),
            "lego_run_sites": ("Sites that are known.", lambda s: len(s.sites)),
            "lego_run_sites_online": ("Sites that answered last, or may still.", _online),
            "lego_run_sites_waited": ("Sites that are waited for.", lambda s: len(s.waiting)),
            "lego_run_waited_seconds": ("How long they are waited for.", self._waited),
        }
        for run, state in self._states.items():
            shown = shown_status(state, now=self._now)
            for name in STATUS:
                status.add_metric([run, name], float(name == shown))
            for name in PHASES:
                phase.add_metric([run, name], float(name == state.phase and not state.ended))
        yield from (status, phase)
        for name, (text, value) in numbers.items():
            family = GaugeMetricFamily(name, text, labels=["run"])
            for run, state in self._states.items():
                family.add_metric([run], float(value(state)))
            yield family

    def _of_sites(self) -> Iterator[Metric]:
        labels = ["run", "site"]
        online = GaugeMetricFamily("lego_site_online", "1 if it answered last, or may still.", labels=labels)
        absences = CounterMetricFamily("lego_site_absences", "What it took no part in.", labels=labels)
        epsilon = GaugeMetricFamily("lego_site_epsilon", "Epsilon spent, over all runs.", labels=labels)
        budget = GaugeMetricFamily("lego_run_epsilon_budget", "The plan's budget of a site.", labels=["run"])
        for run, state in self._states.items():
            if state.epsilon is not None:
                budget.add_metric([run], state.epsilon)
            for name, site in state.sites.items():
                online.add_metric([run, name], float(is_online(site)))
                absences.add_metric([run, name], len(site.absences))
                if site.epsilon is not None:
                    epsilon.add_metric([run, name], site.epsilon)
        yield from (online, absences, epsilon, budget)

    def _of_models(self) -> Iterator[Metric]:
        labels = ["run", "model"]
        loss = GaugeMetricFamily("lego_validation_loss", "Of the last round, all sites.", labels=labels)
        ranked = GaugeMetricFamily("lego_validation_score", "Of the last round, all sites.", labels=labels)
        train = GaugeMetricFamily("lego_train_loss", "Of its last answer.", labels=[*labels, "site"])
        score = GaugeMetricFamily(
            "lego_test_score",
            "Finished models.",
            labels=["run", "method", "modalities", "patients", "metric"],
        )
        for run, state in self._states.items():
            for name, block in state.blocks.items():
                for point in block.curve[-1:]:
                    if point.validation_loss is not None:
                        loss.add_metric([run, name], point.validation_loss)
                    if point.validation_score is not None:
                        ranked.add_metric([run, name], point.validation_score)
                latest = {point.site: point.train_loss for point in block.points}
                for site, value in latest.items():
                    if value is not None:
                        train.add_metric([run, name, site], value)
            for one in state.scores:
                about = [run, one.method, "+".join(one.modalities), one.patients, state.metric]
                score.add_metric(about, one.value)
        yield from (loss, ranked, train, score)

    def _answer_seconds(self) -> Metric:
        family = HistogramMetricFamily(
            "lego_answer_seconds", "From a question to its answer.", labels=["run", "site", "phase"]
        )
        for run, state in self._states.items():
            groups: dict[tuple[str, str], list[float]] = {}
            for one in state.answers:
                groups.setdefault((one.site, one.phase), []).append(one.seconds)
            for (site, phase), seconds in groups.items():
                buckets = [(str(bound), float(sum(one <= bound for one in seconds))) for bound in SECONDS]
                family.add_metric([run, site, phase], [*buckets, ("+Inf", float(len(seconds)))], sum(seconds))
        return family

    def _events(self) -> Metric:
        family = CounterMetricFamily("lego_run_events", "Lines of the run log.", labels=["run", "event"])
        for run, state in self._states.items():
            for name, count in state.counts.items():
                family.add_metric([run, name], count)
        return family

    def _elapsed(self, state: RunState) -> float:
        return elapsed_seconds(state, now=self._now)

    def _silent(self, state: RunState) -> float:
        return 0.0 if state.ended else seconds_since(state.last_event, now=self._now)

    def _waited(self, state: RunState) -> float:
        return seconds_since(state.asked_at, now=self._now) if state.waiting else 0.0


def _online(state: RunState) -> float:
    return sum(is_online(site) for site in state.sites.values())
