"""How long a round may be: local steps that fit link and wait, and how many rounds then do the same work."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import final

from lego_core.errors import PlanError

MESSAGE_SECONDS = 9.0  # without any work, rounds took 3 to 9: Flower's polls, a Python process per message
TRIPS = 4  # a question and its answer: connect, TLS, ask, get
MEGABIT = 1e6


@final
@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round of training costs at the slowest site.

    Args:
        bytes_down: Weights that come, of all models of a round.
        bytes_up: Updates that go.
        messages: Questions in a round: one per model.
        mbit: Speed of the link in megabits per second.
        latency_seconds: There and back.
        seconds_per_step: One step of every model of the round.
        wait_seconds: How long the plan waits for a round.
        margin: Share of the wait that stays free.
    """

    bytes_down: int
    bytes_up: int
    messages: int
    mbit: float
    latency_seconds: float
    seconds_per_step: float
    wait_seconds: float
    margin: float = 0.25

    def __post_init__(self) -> None:
        above = {"mbit": self.mbit, "seconds-per-step": self.seconds_per_step, "wait": self.wait_seconds}
        wrong = [f"{name} {value:g}" for name, value in above.items() if not 0 < value < float("inf")]
        if not 0 <= self.margin < 1:
            wrong.append(f"margin {self.margin:g}")
        if not (self.latency_seconds >= 0 and isfinite(self.latency_seconds)):
            wrong.append(f"latency {self.latency_seconds:g}")
        if min(self.bytes_down, self.bytes_up, self.messages - 1) < 0:
            wrong.append(f"{self.bytes_down} and {self.bytes_up} bytes in {self.messages} messages")
        if wrong:
            raise PlanError(
                f"No round can be planned with {', '.join(wrong)}: speed, seconds per step and wait must "
                "be above "
                "0, the margin from 0 to below 1, all else not negative. Mend them."
            )

    @property
    def fixed_seconds(self) -> float:
        """What a round takes before a step of training is taken."""
        travel = link_seconds(
            self.bytes_down + self.bytes_up,
            mbit=self.mbit,
            latency_seconds=self.messages * self.latency_seconds,
        )
        return travel + self.messages * MESSAGE_SECONDS

    def seconds(self, steps: int) -> float:
        """What a round of so many steps takes."""
        return self.fixed_seconds + steps * self.seconds_per_step

    @property
    def most_steps(self) -> int:
        """How many steps fit, with the margin; 0 if none does."""
        usable = self.wait_seconds * (1 - self.margin)
        steps = max(0, floor((usable - self.fixed_seconds) / self.seconds_per_step))
        return steps if steps == 0 or self.seconds(steps) <= usable else steps - 1


@final
@dataclass(frozen=True)
class RoundAdvice:
    """Rounds that fit.

    Args:
        steps: Local steps in a round.
        rounds: Rounds until as many steps are taken as were wanted.
        round_seconds: What a round takes.
        total_seconds: What all rounds take, one after the other.
    """

    steps: int
    rounds: int
    round_seconds: float
    total_seconds: float


def advise(one: Round, *, wanted_steps: int, whole: int = 1, longest: int | None = None) -> RoundAdvice:
    """Rounds that fit, as long as may be, and as many as it then takes.

    Args:
        one: What a round costs.
        wanted_steps: Steps of training of the whole run.
        whole: Steps that must be taken together: those of an epoch, where a plan counts epochs.
        longest: Most steps of a round, however many would fit: the longer sites train alone, the further they
            drift apart.

    Raises:
        PlanError: If not one step, or one epoch, fits; it says what would help.
    """
    if wanted_steps < 1 or whole < 1:
        raise PlanError(
            f"{wanted_steps} steps, in pieces of {whole}, are no training. Give one at least of each."
        )
    fits = one.most_steps if longest is None else min(one.most_steps, max(longest, whole))
    pieces = fits // whole
    if pieces < 1:
        raise PlanError(_too_short(one, whole))
    most = ceil(wanted_steps / whole)
    pieces = min(pieces, most)
    rounds = ceil(most / pieces)
    pieces = ceil(most / rounds)  # as even as can be
    steps = pieces * whole
    return RoundAdvice(steps, rounds, one.seconds(steps), rounds * one.seconds(steps))


def link_seconds(size: int, *, mbit: float, latency_seconds: float) -> float:
    """How long so many bytes take, connections included.

    Args:
        size: Bytes, in both directions.
        mbit: Megabits per second.
        latency_seconds: There and back.
    """
    return size * 8 / (mbit * MEGABIT) + TRIPS * latency_seconds


def _too_short(one: Round, whole: int) -> str:
    needed = one.seconds(whole) / (1 - one.margin)
    return (
        f"{'One step' if whole == 1 else f'One epoch of {whole} steps'} takes {one.seconds(whole):.3g} s "
        "with its "
        f"travel ({one.fixed_seconds:.3g} s), and {one.wait_seconds * (1 - one.margin):.3g} s of the "
        "plan's wait of "
        f"{one.wait_seconds:g} s may be used. {' '.join(_remedies(one, whole, needed))}"
    )


def _remedies(one: Round, whole: int, needed: float) -> Iterator[str]:
    yield f"Wait {ceil(needed)} s (key participation.round-seconds)"
    usable = one.wait_seconds * (1 - one.margin)
    rest = (
        usable - one.messages * (MESSAGE_SECONDS + TRIPS * one.latency_seconds) - whole * one.seconds_per_step
    )
    if rest > 0:
        mbit = (one.bytes_down + one.bytes_up) * 8 / rest / MEGABIT
        yield f"or bring the link to {mbit:.3g} Mbit/s"
    if whole > 1:
        yield "or plan larger batches, of which an epoch has fewer"
    yield "or a smaller model."
