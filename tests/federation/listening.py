"""A connection that remembers all that went over it, in both directions."""

from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import Message
from flwr.common.serde import message_to_proto

from client.records import read_letter
from lego_core.letters import AbstractMessage, Letter
from simulations.in_process import FIRST_NODE_ID, Fault, InProcessGrid, RunConfig, answer_faithfully


@dataclass(frozen=True)
class Overheard:
    """A message between the server and a site, as the network carries it."""

    site: int
    message: Message
    in_bytes: bytes

    @property
    def letter(self) -> Letter:
        """What either end reads."""
        return read_letter(self.message)

    def is_a(self, kind: type[AbstractMessage]) -> bool:
        """Whether the message holds a letter of this kind."""
        return self.message.has_content() and self.letter.kind == kind.kind


class ListeningGrid(InProcessGrid):
    """A connection on which every message is overheard."""

    def __init__(self, sites: int, *, run_config: RunConfig, fault: Fault = answer_faithfully) -> None:
        super().__init__(sites, run_config=run_config, fault=fault)
        self.asked: list[Overheard] = []
        self.answered: list[Overheard] = []

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        ids = super().push_messages(messages)
        self.asked += [_overhear(one, site=one.metadata.dst_node_id) for one in messages]
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = super().pull_messages(message_ids)
        self.answered += [_overhear(one, site=one.metadata.src_node_id) for one in replies]
        return replies


def _overhear(message: Message, *, site: int) -> Overheard:
    return Overheard(site - FIRST_NODE_ID, message, message_to_proto(message).SerializeToString())
