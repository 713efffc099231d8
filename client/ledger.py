"""What a site has signed and spent, for good: nothing here is ever taken back."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from lego_core.accounting import Epsilon, NoisySteps, epsilon_of
from lego_core.chained_log import ChainedLog
from lego_core.errors import BudgetSpent, SecureSumError
from lego_core.privacy import FEWEST_IN_A_SUM
from lego_core.privacy.fsa1.ledger import SumKey

ENTERED, CONFIRMED, CHARGED = "sum-stage", "sum-confirmed", "privacy-charged"


@final
class SiteLedger:
    """The site's own record, beside its `site.toml`, apart from whatever Flower keeps.

    Args:
        path: The file of chained lines.
        compares_runs: Whether a sum of another run is held against one that differs from it by few sites.

    Raises:
        LogError: If what is there was changed.
    """

    def __init__(self, path: Path, *, compares_runs: bool = True) -> None:
        self._log = ChainedLog(path)
        self._compares_runs = compares_runs

    @property
    def head(self) -> str:
        """Hash of the last line."""
        return self._log.head

    def begin(self, sid: bytes, *, stage: str) -> None:
        """Note that a stage of a session was entered; on the disk when this returns.

        Raises:
            SecureSumError: If it was entered before.
            LogError: If it cannot be written.
        """
        entry = {"session": sid.hex(), "stage": stage}
        with self._log.locked():
            if any(entry.items() <= one.items() for one in self._log.events if one["event"] == ENTERED):
                raise SecureSumError(
                    f"This site has answered '{stage}' of this session before and does not know any more "
                    "what: its state was put back, or the session was begun a second time. It answers "
                    "nothing in it. Begin anew, with a fresh session."
                )
            self._log.append_locked(ENTERED, entry)

    def confirm(self, key: SumKey, *, sid: bytes, sites: frozenset[str]) -> None:
        """Note whose sum may be opened; on the disk when this returns.

        Args:
            key: What is summed.
            sid: The session.
            sites: Names of the sites in the sum.

        Raises:
            SecureSumError: If another session or set was confirmed for these weights, or in this round; or
                in another run a set that differs by few sites, for the same weights.
            LogError: If it cannot be written.
        """
        entry = {**asdict(key), "session": sid.hex(), "sites": sorted(sites)}
        with self._log.locked():
            alike = [one for one in self._log.events if one["event"] == CONFIRMED and _is_alike(one, key)]
            before = [one for one in alike if one["run"] == key.run]
            if any(one[name] != entry[name] for one in before for name in ("session", "sites")):
                raise SecureSumError(
                    f"This site has let a sum of '{key.group}' in run '{key.run}' be opened before, for the "
                    "same weights or round, and other sites or keys. Two such sums show one site by "
                    "subtraction, so it signs no second one. Go on with the next round, from other weights."
                )
            if self._compares_runs:
                _check_other_runs(key, sites, [one for one in alike if one not in before])
            if not before:
                self._log.append_locked(CONFIRMED, entry)

    def charge(
        self, steps: NoisySteps, *, purpose: str, patients: Iterable[str], budget: float, delta: float
    ) -> Epsilon:
        """Pay for steps of private training before they are taken; on the disk when this returns.

        A site has one account for all its patients: a patient may be in any block and any fused model, and
        nobody is told which. Steps that were paid for and not taken stay paid.

        Args:
            steps: The steps that are about to be taken.
            purpose: What for: run, model, round.
            patients: Identifiers of those who are trained on. The ledger holds a salted hash of them,
                by which the site can show later who was meant.
            budget: Epsilon that the site may spend in all.
            delta: Chance at which epsilon may not hold; the smallest of all charges counts for all.

        Returns:
            What is spent after it.

        Raises:
            BudgetSpent: If that would be more than the budget; nothing is charged then.
            PrivacyError: If the accountants contradict each other.
            LogError: If it cannot be written, or what is there was changed.
        """
        with self._log.locked():
            charged, deltas = self._charges()
            smallest = min([delta, *deltas])
            after = epsilon_of([*charged, steps], delta=smallest)
            if after.value > budget:
                before = epsilon_of(charged, delta=smallest)
                raise BudgetSpent(
                    f"This site has spent epsilon {before.value:.4g} of {budget:g} on private training, and "
                    f"{steps.steps} more steps would make it {after.value:.4g}. It trains no more: go on "
                    "with the weights that there are. More noise or fewer steps would have lasted longer; "
                    "`fedlego plan-privacy` tells how much."
                )
            entry = {"purpose": purpose, "delta": delta, "epsilon": after.value, "patients": _seal(patients)}
            self._log.append_locked(CHARGED, {**entry, **asdict(steps)})
        return after

    def spent(self) -> Epsilon:
        """What all private training has cost so far, at the smallest delta of all charges.

        Raises:
            LogError: If the ledger was changed.
        """
        with self._log.locked():
            charged, deltas = self._charges()
        return epsilon_of(charged, delta=min(deltas, default=1.0))

    @classmethod
    def forecast(cls, path: Path, steps: Sequence[NoisySteps], *, delta: float) -> tuple[float, float]:
        """What all private training has cost, and what more steps would make of it; nothing is charged.

        Args:
            path: The file; if it is not there, nothing was spent, and it is not made.
            steps: The steps to come.
            delta: As in `charge`.

        Returns:
            Epsilon before and after, at the smallest delta of all.

        Raises:
            LogError: If the ledger was changed.
            PrivacyError: If the accountants contradict each other.
        """
        charged, deltas = cls(path)._charges() if path.exists() else ([], [])
        smallest = min([delta, *deltas])
        return epsilon_of(charged, delta=smallest).value, epsilon_of([*charged, *steps], delta=smallest).value

    def _charges(self) -> tuple[list[NoisySteps], list[float]]:
        entries = [entry for entry in self._log.events if entry["event"] == CHARGED]
        steps = [NoisySteps(one["noise_multiplier"], one["sampling_rate"], one["steps"]) for one in entries]
        return steps, [entry["delta"] for entry in entries]


def _is_alike(entry: Mapping[str, Any], key: SumKey) -> bool:
    """Whether a sum that was confirmed is of the same vectors: of these weights, or of this round."""
    if entry["group"] != key.group:
        return False
    in_this_round = (entry["run"], entry["round"]) == (key.run, key.round)
    return in_this_round or entry["weights_sha256"] == key.weights_sha256


def _check_other_runs(key: SumKey, sites: frozenset[str], others: Sequence[Mapping[str, Any]]) -> None:
    """A sum over the very sites of another run tells nothing new; one over nearly the same does."""
    if any(sites == set(other["sites"]) for other in others):
        return
    for other in others:
        differing = sites ^ set(other["sites"])
        if 0 < len(differing) < FEWEST_IN_A_SUM:
            raise SecureSumError(
                f"This site has let a sum of '{key.group}' be opened in run '{other['run']}', for the same "
                f"weights, over other sites than in run '{key.run}': they differ by {sorted(differing)}, "
                "and the difference of the two sums is what these sites gave. It signs no second one. Run "
                "with the same sites as before, or with three more or fewer; begin from other weights (key "
                "seed of the plan); or let the operators of all sites set rules.compare-runs to false for "
                "this run, if they mean to show it."
            )


def _seal(patients: Iterable[str]) -> str:
    """A salt, and the hash of it with all identifiers: no use to who does not have them."""
    salt = secrets.token_bytes(16)
    each = (hashlib.sha256(salt + identifier.encode()).digest() for identifier in patients)
    return f"{salt.hex()}:{hashlib.sha256(b''.join(sorted(each))).hexdigest()}"
