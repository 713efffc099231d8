"""The app of `bench rounds`: rounds in which nothing is trained, asked in two ways in turn."""

import json
import time
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client.app import app as whole_program  # what a site's process imports for every message
from client.records import reply_with
from lego_core.letters import Letter
from server.exchange import Exchange, Question
from server.flower_records import to_records
from server.run_log import RunLog

NOTHING = Letter("query.nothing", "{}")
LIMIT_SECONDS = 120.0
START_SECONDS = 180.0

server_app = ServerApp()
client_app = ClientApp()
assert whole_program


@client_app.query("nothing")
def nothing(message: Message, context: Context) -> Message:
    """Say how this node was started, and do nothing else."""
    return reply_with(Letter("nothing", str(context.node_config["start"])), message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Measure rounds of every way to ask, with every kind of node, in turn."""
    output, nodes = Path(str(context.run_config["output"])), int(context.run_config["nodes"])
    exchange = Exchange(grid, RunLog(output / "run.jsonl"))
    deadline = time.monotonic() + START_SECONDS
    while len(exchange.node_ids()) < nodes and time.monotonic() < deadline:
        time.sleep(0.5)
    answers = _ask(exchange, exchange.node_ids())
    starts = {answer.question.node_id: answer.letter.body for answer in answers if answer.letter}
    ours = sorted(node for node, start in starts.items() if start == "quick")
    theirs = sorted(starts.keys() - set(ours))
    lines = []
    for number in range(int(context.run_config["rounds"])):
        turns = [("flower", "usual", theirs), ("ours", "usual", theirs), ("ours", "quick", ours)]
        for way, start, asked in turns if number % 2 else turns[::-1]:
            time.sleep(0.37 * (number % 8))  # so that rounds begin at any moment of a node's sleep
            began = time.monotonic()
            came = _flower(grid, asked) if way == "flower" else sum(
                answer.letter is not None for answer in _ask(exchange, asked)
            )  # fmt: skip
            seconds = time.monotonic() - began
            lines.append({"way": way, "start": start, "came": came, "asked": len(asked), "seconds": seconds})
            (output / "rounds.json").write_text(json.dumps(lines))


def _ask(exchange: Exchange, nodes: list[int]) -> list:
    questions = [Question(node, str(node), NOTHING) for node in nodes]
    return exchange.ask(questions, timeout_seconds=LIMIT_SECONDS, doing={"phase": "rounds", "round": 0})


def _flower(grid: Grid, nodes: list[int]) -> int:
    """The same question in Flower's own way."""
    messages = [Message(to_records(NOTHING), dst_node_id=node, message_type=NOTHING.kind) for node in nodes]
    return len(list(grid.send_and_receive(messages, timeout=LIMIT_SECONDS)))
