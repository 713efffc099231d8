"""What a run has to tell: a page for people, a card beside the model, tables for the terminal."""

from lego_core.report.card import render_card
from lego_core.report.page import render_page
from lego_core.report.terminal import result_table, summary_lines
from lego_core.report.words import headline

__all__ = ["headline", "render_card", "render_page", "result_table", "summary_lines"]
