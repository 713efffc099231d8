"""A federation between institutions, set up through the commands that its people type."""

import stat
from pathlib import Path

from click.testing import Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from typer.testing import CliRunner

from deploy.cli import app

HOST = "fl.example.org"


def call(*words: object, answer: str = "") -> Result:
    """Type one command, which must come to a sentence or succeed, and never to a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words], input=answer, env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def done(*words: object, answer: str = "") -> str:
    """Type one command that succeeds; what it says."""
    result = call(*words, answer=answer)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*words: object, answer: str = "") -> str:
    """Type one command that is refused; what it says."""
    result = call(*words, answer=answer)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


def found(folder: Path, *more: object) -> Path:
    done("init", folder, "--name", "liver", "--host", HOST, "--host", "192.0.2.7", *more)
    return folder


def ask(coordinator: Path, folder: Path, *, site: str) -> Path:
    """A site joins; its request."""
    done("join", folder, "--site", site, "--federation", coordinator / "federation.toml")
    return folder / "request.json"


def member(coordinator: Path, folder: Path, *, site: str) -> Path:
    """A site joins and is approved; its folder."""
    done("approve", coordinator, ask(coordinator, folder, site=site), "--yes")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path in it."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def rights(folder: Path) -> dict[str, str]:
    """The rights of a folder and all that is in it, as `ls` would list them."""
    return {str(one): stat.filemode(one.stat().st_mode) for one in (folder, *folder.rglob("*"))}


def secret_forms(path: Path) -> list[bytes]:
    """What a private key or secret could look like where it leaked."""
    content = path.read_bytes()
    if b"PRIVATE KEY" not in content:
        return [content, content.hex().encode()]
    is_ssh = b"OPENSSH" in content
    load = serialization.load_ssh_private_key if is_ssh else serialization.load_pem_private_key
    key = load(content, password=None)
    lines = [line for line in content.splitlines()[1:-1] if len(line) > 30]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.private_bytes_raw()
    else:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        raw = key.private_numbers().private_value.to_bytes(key.curve.key_size // 8)
    hidden = lines[-1:] if is_ssh else lines  # the first lines of OpenSSH's format hold the public key
    return [raw, raw.hex().encode(), *hidden]


def secrets_of(*folders: Path) -> list[bytes]:
    """All forms of all secrets in these folders."""
    paths = [one for folder in folders for one in folder.rglob("*") if one.suffix in {".key", ".secret"}]
    forms = [form for path in paths for form in secret_forms(path)]
    assert len(forms) >= 2 * len(paths) > 0
    return forms
