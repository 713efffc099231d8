"""Findings on the terminal, and as JSON for machines."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from deploy.preflight.finding import Finding, Status

STYLES: dict[Status, str] = {"PASS": "green", "LOOK": "yellow", "FIX": "bold red", "SKIPPED": "dim"}
NAME_WIDTH = 15


def show(finding: Finding, console: Console, *, details: bool) -> None:
    """Write one finding; the patients it concerns only if they were asked for."""
    line = Text(f"{finding.status:<8}", style=STYLES[finding.status])
    line.append(f"{finding.check:<{NAME_WIDTH}}", style="default")
    line.append(finding.said, style="default")
    console.print(line, soft_wrap=True)
    indent = " " * (8 + NAME_WIDTH)
    if finding.todo:
        console.print(Text(f"{indent}{finding.todo}"), soft_wrap=True)
    for detail in finding.details if details else ():
        for one in detail.splitlines():
            console.print(Text(f"{indent}| {one}", style="dim"), soft_wrap=True)


def summary(findings: Sequence[Finding]) -> str:
    """The last line."""
    counts = {status: sum(one.status == status for one in findings) for status in STYLES}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    if counts["FIX"]:
        return f"FIX: {told}. Mend what is marked FIX before the site starts its node."
    return f"PASS: {told}. Nothing stands in the way of a run."


def as_json(findings: Sequence[Finding], *, details: bool) -> str:
    """All findings; what concerns patients only if it was asked for."""
    plain: list[dict[str, Any]] = [
        one.model_dump(exclude=set() if details else {"details"}) for one in findings
    ]
    return json.dumps({"passed": passed(findings), "findings": plain}, indent=1)


def passed(findings: Sequence[Finding]) -> bool:
    """Whether nothing is to be mended."""
    return all(one.status != "FIX" for one in findings)
