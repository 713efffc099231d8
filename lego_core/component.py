"""The one base of everything a plan can name: frozen, strict, spelled with hyphens in TOML."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lego_core.errors import LegoError


def hyphenated(name: str) -> str:
    """Spell a field as TOML does: `num_latents` becomes `num-latents`."""
    return name.replace("_", "-")


class Component(BaseModel):
    """A piece of a plan: its fields are its configuration, its methods its behaviour.

    Values never change after they were read, unknown keys are errors, and the
    discriminated unions made of components are the only registry there is.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=hyphenated,
        populate_by_name=True,
        ser_json_inf_nan="constants",
    )

    def to_plain(self) -> dict[str, Any]:
        """Give the component as it stands in TOML or JSON: hyphens, no absent values."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def explain(error: ValidationError, *, where: str, kind: type[LegoError]) -> LegoError:
    """Turn pydantic's findings into one of our errors: every key, what is wrong, the way out.

    Args:
        error: What pydantic found.
        where: The file or message that was read, as its reader would call it.
        kind: The error to make.
    """
    findings = []
    for finding in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in finding["loc"] if part != "[key]")
        text = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            text = "there is no such key; check its spelling"
        elif finding["type"] == "missing":
            text = "it is missing and has no default; add it"
        findings.append(f"key '{key}': {text}" if key else text)
    return kind(f"{where}: {'; '.join(findings)}.")
