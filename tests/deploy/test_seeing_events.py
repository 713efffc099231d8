"""The vocabulary of the diary is the one that the server writes."""

import re
from pathlib import Path

from deploy.seeing.events import KINDS

ROOT = Path(__file__).resolve().parents[2]


def written_events() -> set[str]:
    """Names of all events that `server/` writes."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "server").rglob("*.py")]
    return {name for source in sources for name in re.findall(r"\.write\(\s*\"([a-z-]+)\"", source)}


def test_every_event_that_is_written_is_described_and_no_other() -> None:
    assert len(written_events()) > 20
    assert written_events() == set(KINDS)


def test_every_event_says_what_it_tells() -> None:
    assert [kind.__name__ for kind in KINDS.values() if not (kind.__doc__ or "").strip()] == []
