"""One hospital's side of the federation: questions, each answered by one letter.

A hospital starts Flower's SuperNode with `site-file` in its node configuration; on a laptop
the simulation starts many nodes and numbers them. Everything else is the same. What leaves
goes through `client/gate.py`, what is computed stands in `client/answers.py`.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import Tensor

from client import answers, local_training, parcels
from client.gate import gate
from client.records import read_letter, reply_with
from client.site import Site
from client.sums import SumSeat
from client.way import Way, way_of
from lego_core.guard import check_weights
from lego_core.letters import Letter
from lego_core.protocol import (
    AbstractSummable,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOutcomes,
    AskReport,
    AskStatistics,
)
from lego_core.sum_letters import AskSumConfirmations, AskSumKeys, AskSumOpening, AskSumShares

Question = TypeVar("Question", bound=AbstractSummable)

app = ClientApp(mods=[gate])


@app.query("offer")
def offer(message: Message, context: Context) -> Message:
    """What do you hold?"""
    return reply_with(answers.offer(_open(context)), message, context)


@app.query("statistics")
def statistics(message: Message, context: Context) -> Message:
    """What are your sums?"""
    return _numbers(AskStatistics, answers.statistics, message, context)


@app.query("outcomes")
def outcomes(message: Message, context: Context) -> Message:
    """What became of your patients, in counts?"""
    return _numbers(AskOutcomes, answers.outcomes, message, context)


@app.train("block")
def block_update(message: Message, context: Context) -> Message:
    """What does your data teach this block?"""
    return _numbers(AskBlockUpdate, local_training.block_update, message, context)


@app.train("fuse")
def fuse_update(message: Message, context: Context) -> Message:
    """What do your paired patients teach the fused model?"""
    return _numbers(AskFuseUpdate, local_training.fuse_update, message, context)


@app.query("grams")
def grams(message: Message, context: Context) -> Message:
    """What are the layers of this block fed?"""
    return _numbers(AskGrams, answers.grams, message, context)


@app.evaluate("model")
def report(message: Message, context: Context) -> Message:
    """How do these models do on patients they never saw?"""
    return _numbers(AskReport, answers.report, message, context)


@app.query("sum_keys")
def sum_keys(message: Message, context: Context) -> Message:
    """Which keys do you take part in these sums with?"""
    return reply_with(_seat(context).keys(AskSumKeys.read(read_letter(message, context))), message, context)


@app.query("sum_shares")
def sum_shares(message: Message, context: Context) -> Message:
    """Which shares of your secrets do you deal out?"""
    return reply_with(
        _seat(context).shares(AskSumShares.read(read_letter(message, context))), message, context
    )


@app.query("sum_confirm")
def sum_confirm(message: Message, context: Context) -> Message:
    """May the sums of these sites be opened?"""
    return reply_with(
        _seat(context).confirm(AskSumConfirmations.read(read_letter(message, context))), message, context
    )


@app.query("sum_open")
def sum_open(message: Message, context: Context) -> Message:
    """Which shares open them?"""
    return reply_with(
        _seat(context).open(AskSumOpening.read(read_letter(message, context))), message, context
    )


@app.query("held")
def held(message: Message, context: Context) -> Message:
    """Which tensors of a coming question do you lack?"""
    return reply_with(parcels.held(message, context), message)


@app.query("take_piece")
def take_piece(message: Message, context: Context) -> Message:
    """Take this piece of them."""
    return reply_with(parcels.take(message, context), message)


@app.query("piece")
def piece(message: Message, context: Context) -> Message:
    """What is in this piece of your answer?"""
    return reply_with(parcels.give(message, context), message)


@app.query("drop_parcels")
def drop_parcels(message: Message, context: Context) -> Message:
    """Forget what is of no more use."""
    return reply_with(parcels.drop(message, context), message)


def _numbers(
    kind: type[Question],
    answer: Callable[[Site, Question, Mapping[str, Tensor], Way], Letter],
    message: Message,
    context: Context,
) -> Message:
    """Answer a question for numbers, in the way that the site's plan prescribes."""
    letter = read_letter(message, context)
    question, site = kind.read(letter), _open(context)
    site.file.rules.check_question(question)
    check_weights(letter.tensors)
    way = way_of(site, context, question)
    return reply_with(answer(site, question, letter.tensors, way), message, context)


def _seat(context: Context) -> SumSeat:
    return SumSeat(_open(context), context)


def _open(context: Context) -> Site:
    site = Site.of(context)
    torch.set_num_threads(site.file.threads)
    return site
