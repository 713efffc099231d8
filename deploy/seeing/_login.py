"""The coordinator's login to a published dashboard: one password, kept in a file of the owner alone."""

import base64
import binascii
import hmac
import stat
from pathlib import Path

from lego_core.errors import PrivacyError

SHORTEST = 12
ASK_FOR_IT = {"WWW-Authenticate": 'Basic realm="Lego Federation", charset="UTF-8"'}


def read_password(path: Path) -> str:
    """Read the password file: its first line.

    Raises:
        PrivacyError: If there is no such file, others may read it, or the password is short.
    """
    try:
        others = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(
            "The password file of the dashboard cannot be read. Give --password-file a file with one line.",
            local=f"{path}: {error}",
        ) from error
    if others:
        raise PrivacyError(
            f"The password file '{path.name}' has rights {stat.filemode(path.stat().st_mode)}, and nobody "
            "but its owner may read it. Run: chmod 600 on it."
        )
    password = lines[0].strip() if lines else ""
    if len(password) < SHORTEST:
        raise PrivacyError(
            f"The password in '{path.name}' has {len(password)} characters, of at least {SHORTEST}. Make a "
            "better one: openssl rand -base64 24."
        )
    return password


def is_allowed(header: str, *, password: str) -> bool:
    """Whether an `Authorization` header holds the password; the user's name may be any.

    The comparison takes as long for a password that is nearly right.
    """
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, _, given = base64.b64decode(encoded, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(given, password.encode("utf-8"))
