"""A SuperNode runs approved code alone: by Flower's own path from a message to a task."""

import hashlib
import importlib
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.common.serde import fab_to_proto
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import get_object_tree
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.nodestate import NodeStateFactory
from tiny_apps import ECHOING_SERVER, write_app

from deploy.approved_code import approve_code
from deploy.code_bundle import CodeBundle, build_code_bundle
from deploy.pinned_supernode import ASKS, NOT_APPROVED, RECEIVES, REFUSES, pin

RUN_ID = 7
TODAY = date(2026, 1, 1)


@pytest.fixture
def bundle(tmp_path: Path) -> CodeBundle:
    return build_code_bundle(write_app(tmp_path / "tiny-app", ECHOING_SERVER))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's folder, and Flower's SuperNode pinned to it for the time of a test."""
    for module, name in (RECEIVES, ASKS, REFUSES):
        found = importlib.import_module(module)
        monkeypatch.setattr(found, name, getattr(found, name))  # put back after the test
    pin(tmp_path)
    return tmp_path


def what_the_node_does(code: bytes) -> tuple[list[Message], int]:
    """Let Flower take in one message of a run of this code: its replies, and the number of its tasks."""
    supernode: ModuleType = importlib.import_module("flwr.supernode.start_client_internal")
    receives: ModuleType = importlib.import_module(RECEIVES[0])
    stores = ObjectStoreFactory()
    state = NodeStateFactory(objectstore_factory=stores).state()
    state.set_node_id(3)
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN_ID, RUN_ID, 1
    message = Message(RecordDict(), dst_node_id=3, message_type="query")
    message.metadata.__dict__["_message_id"] = message.object_id
    sha256 = hashlib.sha256(code).hexdigest()
    sent = fab_to_proto(Fab(sha256, code, {"valid_license": ""}))  # as a SuperLink of our own sends it
    run = replace(Run.create_empty(run_id=RUN_ID), fab_hash=sha256)
    supernode._pull_and_store_message(
        state=state,
        object_store=stores.store(),
        node_config={},
        receive=lambda: (message, get_object_tree(message)),
        get_run=lambda _: run,
        get_fab=lambda *_: getattr(receives, RECEIVES[1])(sent),
        pull_object=lambda *_: b"",
        confirm_message_received=lambda *_: None,
        trusted_entities={"this-site": "ssh-ed25519 whatever"},
    )
    return list(state.get_messages_legacy(is_reply=True)), len(state.get_tasks())


def test_code_that_nobody_approved_becomes_no_task_and_the_coordinator_is_told_why(
    site: Path, bundle: CodeBundle, caplog: pytest.LogCaptureFixture
) -> None:
    [reply], tasks = what_the_node_does(bundle.content)

    assert tasks == 0
    assert (reply.error.code, reply.error.reason) == (ErrorCode.INVALID_FAB, NOT_APPROVED)
    assert bundle.sha256 in caplog.text
    assert "approve-bundle" in caplog.text


def test_approved_code_becomes_a_task(site: Path, bundle: CodeBundle) -> None:
    approve_code(site, bundle, today=TODAY)

    replies, tasks = what_the_node_does(bundle.content)

    assert (replies, tasks) == ([], 1)


def test_one_changed_byte_is_other_code(site: Path, bundle: CodeBundle) -> None:
    approve_code(site, bundle, today=TODAY)

    [reply], tasks = what_the_node_does(bundle.content + b"\0")

    assert tasks == 0
    assert reply.error.code == ErrorCode.INVALID_FAB


def test_a_list_that_cannot_be_read_lets_nothing_run(
    site: Path, bundle: CodeBundle, caplog: pytest.LogCaptureFixture
) -> None:
    approve_code(site, bundle, today=TODAY)
    (site / "approved" / "approved.json").write_text('{"sha256": 1')

    [reply], tasks = what_the_node_does(bundle.content)

    assert (reply.error.code, tasks) == (ErrorCode.INVALID_FAB, 0)
    assert "cannot be read, so no code runs here" in caplog.text


@pytest.mark.parametrize(("module", "name"), [RECEIVES, ASKS, REFUSES])
def test_another_flower_is_noticed_at_the_start(
    site: Path, module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(f"{module}.{name}")

    with pytest.raises(ImportError, match=rf"has no {module}\.{name}, .*constraints\.txt"):
        pin(site)
