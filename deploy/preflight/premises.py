"""What the checks look at: the site's folder, the plan, the way to the coordinator; each read once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from client.site import Site, SiteFile, read_site_file
from deploy.preflight._once import Once
from deploy.preflight.contact import Contact, make_contact
from deploy.preflight.step import Speed, measure_speed
from lego_core.errors import PlanError
from lego_core.payload import Payload, heaviest_round
from lego_core.plan import RunPlan, find_plan
from lego_core.protocol import Agreement
from lego_core.records import Cohort

CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"


def _utc_now() -> datetime:
    return datetime.now(UTC)


@final
@dataclass(frozen=True)
class Address:
    """Where the coordinator is reached.

    Args:
        host: DNS name or IP address, as the SuperNode is told it.
        port: Its port.
    """

    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> "Address":
        """Read `host:port`; an IPv6 address stands in brackets.

        Raises:
            PlanError: If it is not written so.
        """
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise PlanError(f"'{text}' is no address. Write host and port, as in 'fl.example.org:8443'.")
        return cls(host, int(port))


@final
@dataclass(frozen=True)
class Wish:
    """What preflight is told.

    Args:
        site_file: The site's `site.toml`.
        plan: Name of a shipped plan, or path of its file.
        coordinator: Where it is reached; without it, nothing of the network is measured.
        authority: The federation's `ca.crt`; the one beside `site.toml` if not given.
        bundle: An earlier run's bundle, whose features this site must have.
        runtime_port: Where the site's SuperNode will listen on the loopback.
        mbit: Speed of the link, in megabits per second, where it is known.
        constraints: The versions that the federation runs.
        now: The site's clock.
    """

    site_file: Path
    plan: str
    coordinator: Address | None = None
    authority: Path | None = None
    bundle: Path | None = None
    runtime_port: int | None = None
    mbit: float | None = None
    constraints: Path = CONSTRAINTS
    now: Callable[[], datetime] = _utc_now

    @property
    def folder(self) -> Path:
        """The site's folder."""
        return self.site_file.parent

    @property
    def plan_file(self) -> Path:
        """Where the plan lies.

        Raises:
            PlanError: If it is neither a file nor a shipped plan.
        """
        named = Path(self.plan)
        return named if self.plan.endswith(".toml") or named.is_file() else find_plan(self.plan)

    @property
    def authority_file(self) -> Path:
        """The certificate of the authority that the site trusts."""
        return self.authority or self.folder / "ca.crt"


@final
class Premises:
    """All that checks may ask for. What cannot be read raises for every check that asks.

    Args:
        wish: What preflight is told.
    """

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.file: Once[SiteFile] = Once(lambda: read_site_file(wish.site_file))
        self.plan: Once[RunPlan] = Once(lambda: RunPlan.load(wish.plan_file))
        self.cohort: Once[Cohort] = Once(self._read_patients)
        self.contact: Once[Contact] = Once(self._make_contact)
        self.speed: Once[Speed] = Once(self._measure_speed)
        self.round: Once[list[Payload]] = Once(lambda: heaviest_round(self.plan(), self.cohort().schemas))

    @property
    def plan_sha256(self) -> str:
        """Hash of the plan's file, as `sha256sum` gives it."""
        return hashlib.sha256(self.wish.plan_file.read_bytes()).hexdigest()

    @property
    def held(self) -> tuple[str, ...]:
        """The plan's modalities that the site has patients with."""
        cohort = self.cohort()
        return tuple(name for name in self.plan().modalities if len(cohort.holding(name)))

    def _read_patients(self) -> Cohort:
        """The patients as a run would have them."""
        file, plan = self.file(), self.plan()
        cohort = Site.opened(file, plan, self.wish.folder).cohort
        return cohort.only(*(name for name in cohort.schemas if name in plan.modalities))

    def _make_contact(self) -> Contact:
        where = self.wish.coordinator
        if where is None:
            raise PlanError("No coordinator was named. Give its address with --coordinator HOST:PORT.")
        return make_contact(where.host, where.port, now=self.wish.now)

    def _measure_speed(self) -> Speed:
        file, plan, cohort = self.file(), self.plan(), self.cohort()
        names = self.held
        agreement = Agreement(
            schemas={name: cohort.schemas[name] for name in names},
            task=plan.task.agree(plan.task.summarise(cohort)),
        )
        return measure_speed(cohort, plan=plan, agreement=agreement, device=file.device, threads=file.threads)
