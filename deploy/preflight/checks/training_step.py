"""Does one step of training work here, on these patients, in this memory?"""

from pathlib import Path
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

MOST_OF_MEMORY = 0.8
GIGABYTE = 1e9


@final
class TrainingStep(AbstractCheck):
    """Forward, backward and new weights of every model of the plan, with real patients; time and memory."""

    name = "training"
    asks = "Does a step of training work, and what does it take?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        speed = premises.speed()
        if not speed.models:
            return self.skipped("There are no training patients.")
        measured: dict[str, str | float | int] = {
            "device": speed.device,
            "peak_gigabytes": round(speed.peak_bytes / GIGABYTE, 2),
            "device_gigabytes": round(speed.device_bytes / GIGABYTE, 2),
            "seconds_per_round": round(speed.round_seconds, 1),
        }
        for one in speed.models:
            measured[f"seconds_per_step, {one.about}"] = round(one.seconds_per_step, 4)
            measured[f"steps, {one.about}"] = one.steps
        odd = [one.about for one in speed.models if one.loss is not None and not abs(one.loss) < float("inf")]
        if odd:
            return self.fix(
                f"The loss of {', '.join(odd)} is not a number.",
                "Lower the plan's learning rate, or look for broken values in the data.",
                measured=measured,
            )
        total = _memory_bytes()
        slowest = max(one.seconds_per_step for one in speed.models)
        said = (
            f"A step takes {slowest:.3g} s at most on {speed.device}, the training of a round "
            f"{speed.round_seconds:.3g} s; {speed.peak_bytes / GIGABYTE:.2g} GB of memory were held."
        )
        if total and speed.peak_bytes > MOST_OF_MEMORY * total:
            return self.look_at(
                said,
                f"This machine has {total / GIGABYTE:.2g} GB in all: plan smaller batches, or give it more.",
                measured=measured,
                limits={"gigabytes": round(MOST_OF_MEMORY * total / GIGABYTE, 2)},
            )
        return self.passed(said, measured=measured)


def _memory_bytes() -> int:
    """Memory of this machine, or of the control group that this process may use; 0 if neither is known."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemTotal:"):
                found.append(int(line.split()[1]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        found += [int(limit)] if limit.isdecimal() else []
    except OSError:
        pass
    return min(found, default=0)
