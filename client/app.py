"""One hospital's side of the federation: six questions, each answered by one letter.

A hospital starts Flower's SuperNode with `site-file` in its node configuration; on a laptop
the simulation starts many nodes and numbers them. Everything else is the same. What leaves
goes through `client/gate.py`, what is computed stands in `client/answers.py`.
"""

import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client import answers
from client.gate import gate
from client.records import read_letter, reply_with
from client.site import Site
from lego_core.protocol import AskBlockUpdate, AskFuseUpdate, AskGrams, AskReport, AskStatistics

app = ClientApp(mods=[gate])


@app.query("offer")
def offer(message: Message, context: Context) -> Message:
    """What do you hold?"""
    return reply_with(answers.offer(_open(context)), message)


@app.query("statistics")
def statistics(message: Message, context: Context) -> Message:
    """What are your sums?"""
    letter = read_letter(message)
    return reply_with(answers.statistics(_open(context), AskStatistics.read(letter)), message)


@app.train("block")
def block_update(message: Message, context: Context) -> Message:
    """What does your data teach this block?"""
    letter = read_letter(message)
    answer = answers.block_update(_open(context), AskBlockUpdate.read(letter), letter.tensors)
    return reply_with(answer, message)


@app.train("fuse")
def fuse_update(message: Message, context: Context) -> Message:
    """What do your paired patients teach the fused model?"""
    letter = read_letter(message)
    answer = answers.fuse_update(_open(context), AskFuseUpdate.read(letter), letter.tensors)
    return reply_with(answer, message)


@app.query("grams")
def grams(message: Message, context: Context) -> Message:
    """What are the layers of this block fed?"""
    letter = read_letter(message)
    return reply_with(answers.grams(_open(context), AskGrams.read(letter), letter.tensors), message)


@app.evaluate("model")
def report(message: Message, context: Context) -> Message:
    """How do these models do on patients they never saw?"""
    letter = read_letter(message)
    return reply_with(answers.report(_open(context), AskReport.read(letter), letter.tensors), message)


def _open(context: Context) -> Site:
    site = Site.of(context)
    torch.set_num_threads(site.file.threads)
    return site
