"""What the coordinator's diary tells of secure sums."""

from collections.abc import Callable

from flwr.app import Message
from rehearsal import Run
from tiny_plans import clinics_only

from client.records import read_letter
from lego_core.protocol import AskBlockUpdate


def lost_after_the_first_round(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
    if message.metadata.message_type != AskBlockUpdate.kind or site != 4:
        return answer()
    return answer() if AskBlockUpdate.read(read_letter(message)).round == 1 else None


def test_diary_tells_whose_sums_were_opened_and_where_one_site_went(run: Run) -> None:
    plan = clinics_only(
        "[privacy]\nkind = 'secure-sum'\n[participation]\nround-seconds = 1", hospitals=5, patients=200
    )

    ended = run(plan, lost_after_the_first_round)

    names = [f"clinic-{number}" for number in range(1, 6)]
    opened = {
        (event["sum"], event["round"]): event for event in ended.events if event["event"] == "sum-opened"
    }
    assert opened["blocks/clinical", 1]["sites"] == names
    assert opened["blocks/clinical", 2]["sites"] == names[:4]
    assert len({event["sha256"] for event in opened.values()}) == len(opened)
    (differs,) = [
        event
        for event in ended.events
        if event["event"] == "sum-differs-by-one" and event["sum"] == "blocks/clinical"
    ]
    assert (differs["round"], differs["site"]) == (2, "clinic-5")
