"""How the coordinator's processes are started, watched and stopped; nothing of Flower's runs here."""

import os
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError
from throwaway import authority, free_port

from deploy.environment import flower_environment
from deploy.health import answers_grpc, answers_https
from deploy.service import Service, program
from deploy.superlink import (
    SuperLinkSettings,
    coordinator_running,
    superexec_command,
    superlink_command,
)
from lego_core.errors import RunError

FILES = {
    "folder": Path("/c"),
    "ca": Path("/c/ca.crt"),
    "certificate": Path("/c/sl.pem"),
    "key": Path("/c/sl.key"),
    "superexec_secret": Path("/c/secret"),
}


def after(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_the_superlink_is_fenced_in_on_every_side() -> None:
    command = superlink_command(SuperLinkSettings(**FILES, port=8123, database=Path("/c/state.db")))

    assert Path(command[0]).name == "flower-superlink"
    assert after(command, "--host") == "127.0.0.1"
    assert after(command, "--port") == "8123"
    assert after(command, "--isolation") == "process"
    assert after(command, "--superexec-auth-secret-file") == "/c/secret"
    assert after(command, "--database") == "/c/state.db"
    assert [after(command, f"--ssl-{name}file") for name in ("ca-cert", "cert", "key")] == [
        "/c/ca.crt", "/c/sl.pem", "/c/sl.key",
    ]  # fmt: skip
    assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} < set(command)
    assert "--insecure" not in command


def test_what_was_not_asked_for_is_not_started() -> None:
    command = superlink_command(SuperLinkSettings(**FILES))

    assert "--database" not in command
    assert "--health-server-address" not in command


def test_the_health_service_listens_on_loopback() -> None:
    command = superlink_command(SuperLinkSettings(**FILES, health_port=8124))

    assert after(command, "--health-server-address") == "127.0.0.1:8124"


def test_the_superexec_shares_the_secret_and_checks_the_certificate() -> None:
    command = superexec_command(SuperLinkSettings(**FILES, port=8123))

    assert Path(command[0]).name == "flower-superexec"
    assert after(command, "--runtime-api-address") == "127.0.0.1:8123"
    assert after(command, "--root-certificates") == "/c/ca.crt"
    assert after(command, "--superexec-auth-secret-file") == "/c/secret"
    assert not {"--insecure", "--allow-runtime-dependency-installation"} & set(command)


def test_flower_sees_no_secret_and_tells_nobody() -> None:
    inherited = {"PATH": "/bin", "LANG": "C", "AWS_SECRET_ACCESS_KEY": "s", "PYTHONPATH": "/checkout"}

    assert flower_environment(Path("/c/flower"), inherited=inherited) == {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}/bin",
        "LANG": "C",
        "FLWR_HOME": "/c/flower",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    }


def test_two_interfaces_need_two_ports() -> None:
    with pytest.raises(ValidationError, match="port and health-port are both 8123"):
        SuperLinkSettings(**FILES, port=8123, health_port=8123)


def settings_in(folder: Path, *, port: int) -> SuperLinkSettings:
    ca = authority(folder / "keys")
    certificate, key = ca.issue("superlink")
    secret = folder / "keys" / "secret"
    secret.write_bytes(os.urandom(32))
    return SuperLinkSettings(
        folder=folder / "coordinator", ca=ca.file, certificate=certificate, key=key,
        superexec_secret=secret, port=port,
    )  # fmt: skip


def test_a_file_that_is_missing_is_named_without_its_folder(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, port=free_port())
    settings.superexec_secret.unlink()

    with pytest.raises(RunError, match="There is no file 'secret'") as caught, coordinator_running(settings):
        pass
    assert str(tmp_path) not in caught.value.public


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = settings_in(tmp_path, port=other.getsockname()[1])
        with (
            pytest.raises(RunError, match=f"The SuperLink cannot listen at 127.0.0.1:{settings.port}"),
            coordinator_running(settings),
        ):
            pass


def test_nobody_there_is_not_healthy(tmp_path: Path) -> None:
    ca = authority(tmp_path)

    assert not answers_https("127.0.0.1", free_port(), ca=ca.file)
    assert not answers_grpc("127.0.0.1", free_port())


def python(folder: Path, script: str) -> Service:
    return Service("script", [sys.executable, "-c", script], environment={}, folder=folder)


def test_a_service_that_ends_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    service = python(tmp_path, "print('no disk'); raise SystemExit(7)")
    service.start()
    assert service.ends_within(20)

    with pytest.raises(RunError, match=r"script ended by itself with code 7\. .* script\.log") as caught:
        service.check_alive()
    assert "no disk" in caught.value.local
    service.stop()


def test_a_service_is_stopped_and_can_be_started_again(tmp_path: Path) -> None:
    service = python(tmp_path, "import time; time.sleep(60)")
    service.start()
    first = service.pid
    with pytest.raises(RunError, match=f"runs already, as process {first}"):
        service.start()
    service.stop()

    assert not service.is_running
    service.start()
    assert service.is_running
    assert service.pid != first
    service.stop()
    service.stop()


def test_a_service_that_does_not_listen_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.service.PATIENCE_SECONDS", 0.2)
    script = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    service = python(tmp_path, script)
    service.start()
    while "deaf" not in service.last_words():
        service.check_alive()
    service.stop()

    assert not service.is_running


def test_what_a_service_started_is_stopped_with_it_and_before_it_starts_again(tmp_path: Path) -> None:
    child = "import signal, time; signal.signal(2, signal.SIG_IGN); time.sleep(60)"
    script = (
        "import subprocess, sys, time;"
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); time.sleep(60)"
    )
    service = python(tmp_path, script)
    service.start()
    first = child_of(service, number=0)
    os.kill(service.pid, signal.SIGKILL)
    assert service.ends_within(20)
    assert psutil.pid_exists(first)
    service.start()
    assert not lives(first)
    second = child_of(service, number=1)
    service.stop()

    assert not lives(second)


def child_of(service: Service, *, number: int) -> int:
    while len(said := service.last_words().split()) <= number:
        service.check_alive()
    return int(said[number])


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(RunError, match="The program 'flower-nothing' is not installed here"):
        program("flower-nothing")
