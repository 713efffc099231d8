"""The real nginx before a real SuperLink: who comes through, who is refused, within how many seconds."""

import os
import re
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from stage import ONLINE_WITHIN_SECONDS, Stage, processes_of, until_online
from throwaway import authority, free_port, node_key
from tiny_apps import ECHOING_SERVER, ENDLESS_SERVER, write_app

from deploy.proxy import Fence, proxy_running
from deploy.proxy.render import ELSEWHERE, PLAIN_HTTP, REFUSALS
from deploy.service import Service
from deploy.superlink import SuperLinkSettings, coordinator_running
from lego_core.errors import RunError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
        reason="nginx is not installed here: apt-get install nginx-light",
    ),
]
REFUSED_WITHIN_SECONDS = 30.0  # of a program that first has to start; seen: 2 to 3
ANSWERED_WITHIN_SECONDS = 10.0  # of a call; seen: hundredths
RUN_WITHIN_SECONDS = 180.0
PROTOBUF = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    ca = authority(folder / "ca")
    certificate, key = ca.issue("superlink")
    secret = folder / "secret"
    secret.write_bytes(os.urandom(32))
    settings = SuperLinkSettings(
        folder=folder / "coordinator", ca=ca.file, certificate=certificate, key=key, superexec_secret=secret,
        port=free_port(), health_port=free_port(), database=folder / "state.db",
    )  # fmt: skip
    fence, expired = (
        Fence(
            host="localhost", port=free_port(), listen="127.0.0.1", certificate=pair[0], key=pair[1],
            superlink_port=settings.port, superlink_ca=ca.file,
        )
        for pair in (ca.issue("proxy"), ca.issue("expired", days=-3))
    )  # fmt: skip
    with ExitStack() as stack:
        services = stack.enter_context(coordinator_running(settings))
        stack.enter_context(proxy_running(fence, folder=folder / "proxy"))
        stack.enter_context(proxy_running(expired, folder=folder / "expired"))
        yield Stage(folder, ca, services, fence, expired)
    assert processes_of(folder) == []


def refused(service: Service) -> str:
    """Wait for a SuperNode to give up by itself, and give its words."""
    service.start()
    try:
        assert service.ends_within(REFUSED_WITHIN_SECONDS), service.last_words()
    finally:
        service.stop()
    return re.sub(r"\x1b\[\d+m", "", service.last_words())


def test_a_registered_supernode_comes_online_and_a_run_passes_through(stage: Stage) -> None:
    node = stage.supernode("good", port=stage.fence.port, key=stage.registered("good"))
    node.start()
    try:
        until_online(node, stage)
        final = run_to_its_end(stage, write_app(stage.folder / "app", ECHOING_SERVER))
    finally:
        node.stop()

    assert final == "finished:completed"
    assert (stage.folder / "coordinator" / "echo.txt").read_text() == "12000000 bytes came back as ones"
    pushed = [line for line in log(stage) if "push-object" in line]
    assert max(int(line.split()[5]) for line in pushed) > 5_000_000
    assert {line.split()[4] for line in pushed} == {"200"}


def run_to_its_end(stage: Stage, app: Path) -> str:
    run = str(stage.flwr("run", str(app), "coordinator")["run-id"])
    deadline = time.monotonic() + RUN_WITHIN_SECONDS
    while time.monotonic() < deadline:
        stage.services.check_alive()
        status = stage.flwr("ls", "coordinator", "--run-id", run)["runs"][0]["status"]  # type: ignore[index]
        if status.startswith("finished"):
            return status
        time.sleep(1)
    pytest.fail(
        f"the run did not end within {RUN_WITHIN_SECONDS:g} seconds: {stage.services.superexec.last_words()}"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/list-runs", "/v1/control/start-run", "/v1/control/register-node",
        "/v1/runtime/acquire-task", "/v1/runtime/pull-task-input", "/openapi.json", "/docs", "/health", "/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_control_runtime_and_the_rest_are_refused_from_outside(stage: Stage, method: str, path: str) -> None:
    answer = call(stage, stage.fence.port, path, method=method)

    assert answer.status_code == 403
    assert answer.json() == {"code": 403, "detail": REFUSALS[403]}


def call(stage: Stage, port: int, path: str, *, method: str = "POST", content: bytes = b"") -> httpx.Response:
    trust = ssl.create_default_context(cafile=str(stage.ca.file))
    with httpx.Client(verify=trust, timeout=ANSWERED_WITHIN_SECONDS) as client:
        return client.request(method, f"https://localhost:{port}{path}", content=content, headers=PROTOBUF)


def test_flowers_own_commands_are_refused_from_outside(stage: Stage) -> None:
    answer = stage.flwr("ls", "coordinator", address=f"localhost:{stage.fence.port}")

    assert not answer["success"]
    assert REFUSALS[403] in str(answer["error-message"])


def test_on_the_coordinators_machine_a_task_needs_the_secret(stage: Stage) -> None:
    asked = AcquireTaskRequest().SerializeToString()

    answer = call(stage, stage.services.settings.port, "/v1/runtime/acquire-task", content=asked)

    assert answer.status_code == 401
    assert answer.json()["code"] == 1008


def test_an_unknown_node_is_refused(stage: Stage) -> None:
    private, _ = node_key(stage.folder / "keys", "unknown")

    assert "Failed to activate SuperNode." in refused(
        stage.supernode("unknown", port=stage.fence.port, key=private)
    )


def test_a_node_without_a_key_is_refused(stage: Stage) -> None:
    words = refused(stage.supernode("keyless", port=stage.fence.port, key=None))

    assert "All SuperNodes must be registered via the CLI." in words


def test_a_key_of_the_wrong_kind_is_refused(stage: Stage) -> None:
    key = stage.folder / "keys" / "ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)

    assert "Exit Code: 302" in refused(stage.supernode("ed25519", port=stage.fence.port, key=key))


def test_who_signs_with_another_key_than_the_one_that_is_registered_is_refused(stage: Stage) -> None:
    registered = stage.registered("robbed")
    other, _ = node_key(stage.folder / "keys", "thief")
    public = load_ssh_public_key(registered.with_suffix(".pub").read_bytes())
    signing = NodeAuthHttpInterceptor(load_ssh_private_key(other.read_bytes(), None), public)  # type: ignore[arg-type]
    asked = ActivateNodeRequest(public_key=public_key_to_bytes(public), heartbeat_interval=30)  # type: ignore[arg-type]

    with (
        FleetHttpClient.from_server_address(
            f"localhost:{stage.fence.port}", False, stage.ca.file.read_bytes(), interceptors=[signing]
        ) as client,
        pytest.raises(httpx.HTTPStatusError) as caught,
    ):
        client.ActivateNode(asked)
    assert caught.value.response.status_code == 401
    assert "Invalid SuperNode authentication" in caught.value.response.text


def test_plain_http_is_refused_and_not_tried_for_ever(stage: Stage) -> None:
    words = refused(stage.supernode("plain", "--insecure", port=stage.fence.port, key=None))

    assert REFUSALS[PLAIN_HTTP] in words


def test_a_site_from_another_network_is_refused_and_told_why(stage: Stage) -> None:
    narrow = stage.fence.model_copy(update={"port": free_port(), "allowed": (IPv4Network("192.0.2.0/24"),)})

    with proxy_running(narrow, folder=stage.folder / "narrow"):
        words = refused(stage.supernode("elsewhere", port=narrow.port, key=stage.registered("elsewhere")))

    assert REFUSALS[ELSEWHERE] in words


def test_an_expired_certificate_is_refused(stage: Stage) -> None:
    key = stage.registered("careful")

    assert "certificate has expired" in refused(stage.supernode("careful", port=stage.expired.port, key=key))


def test_a_coordinator_of_another_ca_is_refused(stage: Stage) -> None:
    other = authority(stage.folder / "other-ca")
    trust = ("--root-certificates", str(other.file))

    words = refused(stage.supernode("misled", *trust, port=stage.fence.port, key=stage.registered("misled")))

    assert "CERTIFICATE_VERIFY_FAILED" in words


def test_a_supernode_outlives_the_superlink(stage: Stage) -> None:
    node = stage.supernode("patient", port=stage.fence.port, key=stage.registered("patient"))
    node.start()
    try:
        until_online(node, stage)
        stage.services.superlink.stop()
        answer = call(stage, stage.fence.port, "/v1/fleet/pull-messages")
        assert (answer.status_code, answer.json()["detail"]) == (502, REFUSALS[502])
        stage.services.start()
        wait_for_a_pull(node, stage, after=len(log(stage)))
    finally:
        node.stop()


def test_a_serverapp_ends_with_the_superexec_also_while_it_sleeps(stage: Stage) -> None:
    stage.flwr("run", str(write_app(stage.folder / "endless", ENDLESS_SERVER)), "coordinator")
    begun = stage.folder / "coordinator" / "endless.txt"
    wait_until(begun.exists, seconds=RUN_WITHIN_SECONDS)

    stage.services.superexec.stop()

    assert [words for words in processes_of(stage.folder) if "serverapp" in words] == []
    with pytest.raises(RunError, match="superexec does not run"):
        stage.services.check_alive()
    stage.services.start()
    stage.services.check_alive()


def test_the_end_of_the_superlink_is_noticed(stage: Stage) -> None:
    os.kill(stage.services.superlink.pid, signal.SIGKILL)
    assert stage.services.superlink.ends_within(10)

    with pytest.raises(RunError, match=r"superlink ended by itself with code -9"):
        stage.services.check_alive()
    stage.services.start()
    stage.services.check_alive()


def wait_until(holds: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about within {seconds:g} seconds"
        time.sleep(0.5)


def wait_for_a_pull(node: Service, stage: Stage, *, after: int) -> None:
    deadline = time.monotonic() + ONLINE_WITHIN_SECONDS
    while not any('"/v1/fleet/pull-messages" 200' in line for line in log(stage)[after:]):
        node.check_alive()
        assert time.monotonic() < deadline, node.last_words()
        time.sleep(0.5)


def log(stage: Stage) -> list[str]:
    return (stage.folder / "proxy" / "access.log").read_text().splitlines()


def test_a_coordinator_whose_certificate_expired_does_not_start(stage: Stage) -> None:
    certificate, key = stage.ca.issue("late", days=-1)
    settings = stage.services.settings.model_copy(
        update={
            "folder": stage.folder / "late", "certificate": certificate, "key": key, "port": free_port(),
            "health_port": None, "database": None,
        }
    )  # fmt: skip

    with (
        pytest.raises(
            Exception, match=r"The certificate at 127\.0\.0\.1:\d+ is not to be trusted: .*expired"
        ),
        coordinator_running(settings),
    ):
        pass
