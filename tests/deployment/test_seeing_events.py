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


def test_the_table_of_the_readme_has_every_event_with_its_keys() -> None:
    readme = (ROOT / "deploy" / "seeing" / "README.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `([a-z-]+)` \|.*\| ([^|]*) \|$", readme, flags=re.MULTILINE))

    assert {name: set(re.findall(r"`(\w+)`", keys)) for name, keys in table.items() if name in KINDS} == {
        name: {field.alias or key for key, field in kind.model_fields.items()} - {"number", "time", "event"}
        for name, kind in KINDS.items()
    }


def test_every_event_says_what_it_tells() -> None:
    assert [kind.__name__ for kind in KINDS.values() if not (kind.__doc__ or "").strip()] == []
