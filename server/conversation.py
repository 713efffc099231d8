"""What is said with one site until a question is answered: usually one letter each way."""

from collections.abc import Generator, Sequence

from lego_core.letters import Letter

Conversation = Generator[Sequence[Letter], Letter, Letter]
"""Gives letters to send, is given every answer as it comes, and returns the letter that was asked for."""
