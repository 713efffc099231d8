"""Flower's command line, asked on the coordinator's machine, and its answers read."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.environment import flower_environment
from deploy.service import program
from lego_core.errors import RunError

COMMAND_SECONDS = 120.0
CONNECTION = "lego"


@dataclass(frozen=True)
class FlowerCli:
    """`flwr`, with the connections of one coordinator.

    Args:
        folder: The coordinator's.
    """

    folder: Path

    def ask(self, *words: str) -> dict[str, Any]:
        """Call one command, and give its answer.

        Raises:
            RunError: If Flower refuses, in its own words, or gives no answer that can be read in time.
        """
        home, command = self.folder / "flower", [program("flwr"), *words, "--format", "json"]
        what = f"'flwr {' '.join(words[:2])}'"
        try:
            done = subprocess.run(
                command, cwd=home, env=flower_environment(home, inherited=os.environ), text=True,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
            answer: dict[str, Any] = json.loads(done.stdout[max(0, done.stdout.find("{")) :])
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise RunError(
                f"Flower gave no readable answer to {what} within {COMMAND_SECONDS:g} seconds. Does the "
                "coordinator run ('python -m deploy coordinator start')? Its last words are in "
                "superlink.log.",
                local=str(error),
            ) from error
        if not answer.get("success"):
            raise RunError(f"Flower refuses {what}: {answer.get('error-message', answer)}")
        return answer

    def submit(self, app: Path, *, run_config: dict[str, str]) -> str:
        """Hand over a run, and give its number."""
        config = " ".join(f"{key}={json.dumps(value)}" for key, value in run_config.items())
        return str(self.ask("run", str(app), CONNECTION, "-c", config)["run-id"])

    def status(self, run_id: str) -> tuple[str, str]:
        """How a run is (`finished:completed` if it ended well), and Flower's details."""
        run = self.ask("ls", CONNECTION, "--run-id", run_id)["runs"][0]
        return str(run["status"]), str(run.get("status-details", ""))

    def nodes(self) -> dict[str, str]:
        """How each registered node is, by its number."""
        listed = self.ask("supernode", "list", CONNECTION)["nodes"]
        return {str(node["node-id"]): str(node["status"]) for node in listed}
