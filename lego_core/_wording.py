"""How numbers and models are written in sentences, wherever the sentence stands."""

MODELS = {
    "block": "the block",
    "ensemble": "the probability ensemble",
    "merge": "the merged model",
    "fuse": "the fused model",
}


def signed(value: float) -> str:
    """Write a difference with its sign, and with enough digits that it is not mistaken for zero."""
    digits = next((digits for digits in (3, 4, 5) if round(value, digits)), None)
    return "0.000" if digits is None else f"{value:+.{digits}f}"


def signed_with_interval(value: float, low: float, high: float) -> str:
    """Write `+0.021 (-0.010 to +0.053)`."""
    return f"{signed(value)} ({signed(low)} to {signed(high)})"


def count_of(number: int, noun: str) -> str:
    """Write `1 site`, `1,204 patients`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
