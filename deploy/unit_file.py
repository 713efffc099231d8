"""The systemd unit of a site's SuperNode: it connects outwards, and comes back by itself."""

import re
from pathlib import PurePosixPath

from deploy.errors import DeployError
from deploy.federation import Federation

UNIT = "lego-supernode.service"
PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")

# `site start` brings the SuperNode back when it ends. If it is killed itself, Flower refuses the key for up
# to 60 seconds: hence RestartSec, and no limit of starts.
TEXT = """\
[Unit]
Description=SuperNode of site {site} in federation {federation}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
User=lego
WorkingDirectory={home}/lego-federation
Environment=PATH={home}/venv/bin:/usr/bin:/bin
ExecStart={home}/venv/bin/python -m deploy site start {home} --runtime-port {runtime_port}
Restart=always
RestartSec=75
KillSignal=SIGTERM
TimeoutStopSec=60

UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ReadWritePaths={home}
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"""


def unit_file(federation: Federation, *, site: str, home: PurePosixPath, runtime_port: int) -> str:
    """Write the unit file of a site.

    Args:
        federation: Whose site it is.
        site: The site's name.
        home: The site's folder on its own machine; the programs lie in its `venv/bin`, the
            checkout in `lego-federation`.
        runtime_port: A port on the site's loopback that nothing else uses.

    Raises:
        DeployError: If the folder's name has characters that systemd or Flower read otherwise.
    """
    if not PLAIN_PATH.fullmatch(str(home)):
        raise DeployError(
            f"The site's folder is '{home}', and systemd and Flower would read that otherwise. Give an "
            "absolute path of letters, digits, '_', '-', '.' and '/', as in '/srv/lego/north'."
        )
    return TEXT.format(
        site=site,
        federation=federation.name,
        home=home,
        runtime_port=runtime_port,
    )
