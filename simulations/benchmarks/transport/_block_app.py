"""The app of `bench large-block`: a block goes to a site and comes back, in Flower's own way or in ours."""

import json
import time
from pathlib import Path

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from client import parcels
from client.records import parcel_in, read_letter, reply_with
from client.spool import Spool
from lego_core.letters import Letter
from server.exchange import Exchange, Question
from server.run_log import RunLog

QUESTION = "train.echo"
LIMIT_SECONDS = 900.0

server_app = ServerApp()
client_app = ClientApp()


@client_app.train("flower")
def in_flowers_way(message: Message, _: Context) -> Message:
    """Give the block back, a little changed."""
    state = message.content.array_records["block"].to_torch_state_dict()
    changed = {name: tensor.add_(1.0) for name, tensor in state.items()}
    return Message(RecordDict({"block": ArrayRecord(changed), "plain": ConfigRecord({})}), reply_to=message)


@client_app.train("echo")
def in_pieces(message: Message, context: Context) -> Message:
    """The same, in pieces."""
    letter = read_letter(message, context)
    changed = {name: tensor.add_(1.0) for name, tensor in letter.tensors.items()}
    answer = reply_with(Letter("echo", "{}", changed), message, context)
    parcel = parcel_in(answer)
    if parcel is not None:
        Spool.of(context).let_out(parcel)
    return answer


@client_app.query("held")
def held(message: Message, context: Context) -> Message:
    """As in the sites' own program."""
    return reply_with(parcels.held(message, context), message)


@client_app.query("take_piece")
def take_piece(message: Message, context: Context) -> Message:
    """As in the sites' own program."""
    return reply_with(parcels.take(message, context), message)


@client_app.query("piece")
def piece(message: Message, context: Context) -> Message:
    """As in the sites' own program."""
    return reply_with(parcels.give(message, context), message)


@client_app.query("drop_parcels")
def drop_parcels(message: Message, context: Context) -> Message:
    """As in the sites' own program."""
    return reply_with(parcels.drop(message, context), message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Send the block to the one node there is, and check what comes back."""
    output, way = Path(str(context.run_config["output"])), str(context.run_config["way"])
    exchange = Exchange(grid, RunLog(output / "run.jsonl"))
    while not exchange.node_ids():
        time.sleep(0.2)
    (node,) = exchange.node_ids()
    block = _block(int(context.run_config["mebibytes"]), getattr(torch, str(context.run_config["dtype"])))
    began = time.monotonic()
    if way == "flower":
        back = _flower(grid, node, block)
    else:
        question = Question(node, "site", Letter(QUESTION, "{}", block), "block")
        (answer,) = exchange.ask([question], timeout_seconds=LIMIT_SECONDS, doing={"phase": "block"})
        if answer.letter is None:
            raise RuntimeError(answer.reason)
        back = answer.letter.tensors
    seconds = time.monotonic() - began
    right = all(torch.equal(back[name], tensor.add_(1.0)) for name, tensor in block.items())
    exchange.drop_pieces()
    done = {"seconds": seconds, "right": right, "bytes": sum(one.nbytes for one in block.values())}
    (output / "done.json").write_text(json.dumps(done))


def _block(mebibytes: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors of a few sizes, as a transformer has them, none like another."""
    left, state = mebibytes * 2**20 // dtype.itemsize, {}
    while left:
        size = min(left, 7_000_000)
        state[f"layer-{len(state):03d}"] = torch.arange(size, dtype=torch.float32).sin_().add_(
            len(state)
        ).to(dtype)  # fmt: skip
        left -= size
    return state


def _flower(grid: Grid, node: int, block: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    message = Message(
        RecordDict({"block": ArrayRecord(block), "plain": ConfigRecord({})}),
        dst_node_id=node,
        message_type="train.flower",
    )
    (reply,) = grid.send_and_receive([message], timeout=LIMIT_SECONDS)
    return reply.content.array_records["block"].to_torch_state_dict()
