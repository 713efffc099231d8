"""Does a round fit into the time that the plan waits for it?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core.round_planner import MESSAGE_SECONDS, link_seconds

MUCH = 0.5
MEGABYTE = 1e6


@final
class RoundTime(AbstractCheck):
    """Training and travel of the heaviest round, against `participation.round-seconds`."""

    name = "round"
    asks = "Do training and travel of a round fit into the plan's wait?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        wait, training = premises.plan().participation.round_seconds, premises.speed().round_seconds
        asked = premises.round()
        down, up = sum(one.down for one in asked), sum(one.up for one in asked)
        measured: dict[str, str | float | int] = {
            "bytes_down": down, "bytes_up": up, "training_seconds": round(training, 1)
        }  # fmt: skip
        mbit = premises.wish.mbit
        latency = premises.contact().latency_seconds if premises.wish.coordinator else 0.0
        travel = link_seconds(down + up, mbit=mbit, latency_seconds=latency) if mbit else 0.0
        total = training + travel + MESSAGE_SECONDS * max(1, len(asked))
        measured |= {"travel_seconds": round(travel, 1), "round_seconds": round(total, 1)}
        limits = {"round_seconds": wait}
        weight = f"{down / MEGABYTE:.3g} MB down, {up / MEGABYTE:.3g} MB up"
        said = f"A round takes about {total:.3g} s of the {wait:g} s that the plan waits ({weight})."
        if total > wait:
            return self.fix(
                said,
                "Plan fewer local epochs or a longer wait; 'python -m deploy plan-rounds' tells which.",
                measured=measured,
                limits=limits,
            )
        if not mbit:
            left = (wait - total) or 1e-9
            return self.look_at(
                f"{said} The link's speed is not known.",
                f"Give it with --mbit; {(down + up) * 8 / left / MEGABYTE:.3g} Mbit/s at least are needed.",
                measured=measured,
                limits=limits,
            )
        if total > MUCH * wait:
            return self.look_at(
                said, "A slow day may be too slow: plan a longer wait.", measured=measured, limits=limits
            )
        return self.passed(said, measured=measured, limits=limits)
