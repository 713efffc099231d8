"""From a deployment to the files that compose, systemd or Helm reads; none holds a secret."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from deploy.code_bundle import ROOT
from deploy.errors import DeployError
from deploy.targets.deployment import Deployment
from deploy.targets.inputs import OWN_USER, Target
from deploy.targets.processes import Process
from deploy.targets.templates import template
from deploy.targets.units import unit


def target_files(deployment: Deployment, *, target: Target) -> dict[str, str]:
    """Write what runs a coordinator or a site.

    Args:
        deployment: What is to run.
        target: What is to run it.

    Returns:
        The files, by name.

    Raises:
        DeployError: If Kubernetes is to let a site out, and nobody said where to.
    """
    nginx = {} if deployment.nginx_conf is None else {"nginx.conf": deployment.nginx_conf}
    if target == "compose":
        return {"compose.yaml": compose_yaml(deployment), **nginx}
    if target == "kubernetes":
        return {"values.yaml": values_yaml(deployment), **nginx}
    return {
        f"lego-{process.name}.service": unit(
            process,
            title=deployment.title,
            programs=Path(sys.executable).parent,
            checkout=ROOT,
            gpu=deployment.gpu,
            loopback_alone=deployment.is_coordinator and process.port is None,
        )
        for process in deployment.processes
    } | nginx


def compose_yaml(deployment: Deployment) -> str:
    """The compose file."""
    return template("compose/compose.yaml.jinja").render(
        deployment=deployment,
        user=OWN_USER,
        checkout=ROOT,
        runs_in=_runs_in,
        said=_said,
    )


def values_yaml(deployment: Deployment) -> str:
    """The values of the chart.

    Raises:
        DeployError: If a site's firewall is to let it out, and nobody said where to.
    """
    values: dict[str, Any] = {
        "role": "coordinator" if deployment.is_coordinator else "site",
        "name": deployment.project,
        "title": deployment.title,
        "user": OWN_USER,
        "folder": str(deployment.folder),
        "papers": list(deployment.papers),
        "storage": {"size": "50Gi", "className": ""},
        "gpus": 0 if deployment.gpu == "none" else 1,
        "processes": [_values_of(process) for process in deployment.processes],
    }
    if deployment.is_coordinator:
        proxy = next(process.name for process in deployment.processes if process.port is not None)
        values |= {"port": deployment.port, "address": deployment.address, "proxy": proxy}
    elif not deployment.networks:
        raise DeployError(
            f"'federation.toml' names the coordinator as {deployment.address}, and the rules of a Kubernetes "
            "network know addresses alone. Say where it is with --network, as in --network 192.0.2.7/32."
        )
    else:
        values |= {
            "checkout": str(ROOT),
            "data": {"path": str(deployment.data), "claimName": ""},
            "coordinator": {"networks": list(deployment.networks), "port": deployment.port},
        }
    return yaml.safe_dump(values, sort_keys=False, width=1000)


def _values_of(process: Process) -> dict[str, Any]:
    return {
        "name": process.name,
        "image": process.image,
        "command": list(process.command),
        "environment": process.environment,
        "folder": str(process.folder),
        "workingDir": str(_runs_in(process)),
        "keys": [key.name for key in process.keys],
        "health": list(process.health),
        "memory": f"{process.memory_gib}Gi",
        "stopSeconds": process.stop_seconds,
    }


def _runs_in(process: Process) -> Path:
    return ROOT if process.needs_checkout else process.folder


def _said(value: object) -> str:
    """A value as compose reads it; `$` means something there."""
    return json.dumps(value).replace("$", "$$")
