"""A federation inside one process: the real server, the real sites, and no network between them.

For tests, and for anyone who wants to step through a run with a debugger. Every message is
written to bytes and read back on its way, so that server and sites share nothing, and what
a site raises becomes the error reply that Flower would send.
"""

import secrets
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from client.app import app as client_app
from server.app import app as server_app

RUN_ID = 1
SERVER_NODE_ID = 1
FIRST_NODE_ID = 1000  # far from the numbers of sites, so that nobody mistakes one for the other

RunConfig = dict[str, bool | float | int | str]
Fault = Callable[[int, Message, Callable[[], Message]], Message | None]


def answer_faithfully(_site: int, _message: Message, answer: Callable[[], Message]) -> Message | None:
    """No fault: every site answers what it is asked."""
    return answer()


class InProcessGrid(Grid):
    """Flower's connection to the sites, without Flower's processes.

    Args:
        sites: How many sites there are; they are numbered from 0.
        run_config: What every site is told of the run.
        app: What a site runs.
        fault: Called for every message with the site's number, the message and the way to
            the site's answer; gives the answer, another one, or None for a site that never
            answers. What it raises, the site has raised.
        run_id: What the sites are told of the run's number.
    """

    def __init__(
        self,
        sites: int,
        *,
        run_config: RunConfig,
        app: ClientApp = client_app,
        fault: Fault = answer_faithfully,
        run_id: int = RUN_ID,
    ) -> None:
        TaskIdentity.run_id = RUN_ID
        TaskIdentity.task_id = RUN_ID
        TaskIdentity.node_id = SERVER_NODE_ID
        self.contexts = [
            make_context(number, sites=sites, run_config=run_config, run_id=run_id) for number in range(sites)
        ]
        self._app = app
        self._fault = fault
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        """There is one run only."""

    @property
    def run(self) -> Run:
        """The one run."""
        return Run.create_empty(run_id=RUN_ID)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message, in the old way."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Numbers of all sites, as Flower would number them."""
        return [context.node_id for context in self.contexts]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Have the sites answer, one after the other."""
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
            ids.append(message.metadata.message_id)
            reply = self._deliver(over_the_wire(message))
            if reply:
                self._replies[message.metadata.message_id] = over_the_wire(reply)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Hand over the answers to these messages, each once."""
        return [self._replies.pop(one) for one in message_ids if one in self._replies]

    def send_and_receive(
        self,
        messages: Iterable[Message],
        *,
        timeout: float | None = None,  # noqa: ARG002 - Flower's signature
    ) -> list[Message]:
        """Ask and give the answers; nobody is waited for."""
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> Message | None:
        site = message.metadata.dst_node_id - FIRST_NODE_ID
        try:
            return self._fault(site, message, lambda: self._app(message, self.contexts[site]))
        except Exception as error:  # noqa: BLE001 - whatever a site raises, Flower replies like this
            reason = f"{type(error)}:<'{error}'>"
            return Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)


def make_context(number: int, *, sites: int, run_config: RunConfig, run_id: int = RUN_ID) -> Context:
    """What Flower's simulation tells the site of this number."""
    return Context(
        run_id=run_id,
        node_id=FIRST_NODE_ID + number,
        node_config={"partition-id": number, "num-partitions": sites},
        state=RecordDict(),
        run_config=dict(run_config),
    )


def over_the_wire(message: Message) -> Message:
    """Write a message to bytes and read it back, as a network would."""
    sent = message_to_proto(message).SerializeToString()
    return message_from_proto(MessageProto.FromString(sent))


def run_in_process(
    plan: str,
    *,
    sites: int,
    sites_dir: Path,
    output: Path,
    fault: Fault = answer_faithfully,
    resume: bool = False,
) -> None:
    """Run the coordinator and all sites of one plan in this process.

    Args:
        plan: Name of the plan.
        sites: How many site folders there are.
        sites_dir: The folder of site folders.
        output: Where the coordinator writes.
        fault: What goes wrong on the way, for tests.
        resume: Whether it goes on where it broke off before.
    """
    run_id = secrets.randbits(32) if resume else RUN_ID  # as with Flower, what is resumed is another run
    run_config: RunConfig = {
        "plan": plan, "sites-dir": str(sites_dir), "output": str(output), "resume": resume
    }  # fmt: skip
    grid = InProcessGrid(sites, run_config=run_config, fault=fault, run_id=run_id)
    context = Context(
        run_id=run_id, node_id=SERVER_NODE_ID, node_config={}, state=RecordDict(), run_config=run_config
    )
    server_app(grid, context)
