"""The templates, which lie beside the README of what reads them."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

DEPLOY = Path(__file__).resolve().parents[1]


def template(name: str) -> Template:
    """A template of `deploy`, by its path there."""
    environment = Environment(
        loader=FileSystemLoader(DEPLOY), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,  # noqa: S701 - no HTML; `inputs` checks what may stand here
    )  # fmt: skip
    return environment.get_template(name)
