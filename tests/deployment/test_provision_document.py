"""Is the operator's day in deploy/README.md what the commands really say?"""

import re
import shlex
from pathlib import Path

import pytest
from provisioning import call

README = (Path(__file__).resolve().parents[2] / "deploy" / "README.md").read_text()
SHOWN = re.findall(r"```console\n\$ python -m deploy (.*)\n((?:(?!```).*\n)*)```", README)
GO_ON = ("coordinator start", "site start", "run")  # `test_operators_day.py` replays these
SESSIONS = [(command, printed) for command, printed in SHOWN if not command.startswith(GO_ON)]


def masked(said: str) -> list[str]:
    """Lines without what differs from day to day: keys, fingerprints, dates, and the files of the code."""
    said = re.sub(r"\d{4}-\d\d-\d\d", "DATE", said)
    said = re.sub(r"AAAA[\w+/]+=*", "KEY", said)
    said = re.sub(r"\b[0-9a-f]{4}( [0-9a-f]{4}){7}\b|\b[0-9a-f]{64}\b", "DIGITS", said)
    said = re.sub(r"\d+ files", "SOME files", said)
    said = re.sub(r"(  DIGITS  .*\n)+(  …\n)?", "  FILES\n", said)
    return said.rstrip().splitlines()


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, str]]:
    """Every command of the document in its order, with what it says there and here."""
    place = str(tmp_path_factory.mktemp("day")) + "/"
    heard = []
    for command, printed in SESSIONS:
        words = shlex.split(command.replace("/srv/", place))
        heard.append((command, printed, call(*words, answer="y\n").output.replace(place, "/srv/")))
    return heard


def test_every_command_of_the_coordinator_is_shown(replayed):
    shown = {command.split()[0] for command, _, _ in replayed}

    assert shown == {"init", "join", "approve", "kit", "bundle", "approve-bundle", "renew", "leave", "revoke"}


def test_the_document_shows_what_is_really_said(replayed):
    for command, printed, said in replayed:
        assert masked(printed) == masked(said), command
