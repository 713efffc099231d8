"""One run, one plan, the same patients: what a run began with here, kept in the site's folder.

Whoever edits the plan, or brings a new export of the data, while a run goes on would have patients trained on
who were kept apart for testing, or sums over others than those before, whose difference tells of single ones.
"""

import hashlib
from pathlib import Path
from typing import Literal, final

from lego_core.chained_log import ChainedLog
from lego_core.errors import SiteRefusal
from lego_core.records import Cohort

BEGAN = "run-began-with"
SAID = {
    "plan": (
        "its plan was edited since: 'sha256sum' of the file was {before}… and is {now}…",
        "Bring the file back as it was",
    ),
    "patients": (
        "its data are others than those that the run began with",
        "Bring the files back as they were, with the same [data], [split] and rules.modalities in site.toml",
    ),
}


@final
class RunPins:
    """What stays as it is for a run, noted when it is first met.

    Args:
        folder: The site's folder; the notes are `runs.jsonl` in it.
        run: Which run.
    """

    def __init__(self, folder: Path, *, run: str) -> None:
        self._path = folder / "runs.jsonl"
        self._run = run

    def check_plan(self, sha256: str) -> None:
        """Note the plan, or make sure that it is the one that was noted.

        Raises:
            SiteRefusal: If it is another.
            LogError: If it cannot be noted, or what is there was changed.
        """
        self._check("plan", sha256)

    def checked(self, cohort: Cohort) -> Cohort:
        """Note the patients, or make sure that they are those that were noted.

        Raises:
            SiteRefusal: If they are others, or anything of them is.
            LogError: As `check_plan`.
        """
        self._check("patients", fingerprint(cohort))
        return cohort

    def _check(self, about: Literal["plan", "patients"], now: str) -> None:
        log = ChainedLog(self._path)
        with log.locked():
            noted = {"run": self._run, "about": about}
            before = next((one["sha256"] for one in log.events if noted.items() <= one.items()), None)
            if before is None:
                log.append_locked(BEGAN, {**noted, "sha256": now})
        if before not in (None, now):
            what, remedy = SAID[about]
            raise SiteRefusal(
                f"This site declines to go on with run '{self._run}': "
                f"{what.format(before=before[:16], now=now[:16])}. Nothing was sent. {remedy}, or begin a "
                "new run."
            )


def fingerprint(cohort: Cohort) -> str:
    """SHA-256 of all that a run could see of some patients: 64 hexadecimal digits.

    Identifiers, parts of the split, outcomes, names of features, every value and time; not the order of
    patients. It never leaves the site.
    """
    schemas = [f"{name} {schema.model_dump_json()}" for name, schema in sorted(cohort.schemas.items())]
    whole = hashlib.sha256("\n".join(schemas).encode())
    for record in sorted(cohort.records, key=lambda one: one.patient_id):
        whole.update(repr((record.patient_id, record.part, record.outcome.values)).encode())
        for name, measured in sorted(record.modalities.items()):
            whole.update(repr((name, tuple(measured.values.shape))).encode())
            whole.update(measured.values.contiguous().numpy().tobytes())
            if measured.times_days is not None:
                whole.update(measured.times_days.contiguous().numpy().tobytes())
    return whole.hexdigest()
