"""The systemd unit of a site's SuperNode: it connects outwards, and comes back by itself."""

import re
from pathlib import PurePosixPath

from deploy.errors import DeployError
from deploy.federation import Federation

UNIT = "lego-supernode.service"
PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")

# After a SuperNode was killed, Flower refuses its key for up to 60 seconds, and the SuperNode ends at once:
# hence RestartSec, and no limit of starts.
TEXT = """\
[Unit]
Description=SuperNode of site {site} in federation {federation}
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
User=lego
WorkingDirectory={home}
Environment=FLWR_HOME={home}/flower
Environment=FLWR_TELEMETRY_ENABLED=0
Environment=FLWR_DISABLE_UPDATE_CHECK=1
Environment=PATH={home}/venv/bin:/usr/bin:/bin
ExecStart={home}/venv/bin/flower-supernode \\
    --superlink {address} \\
    --root-certificates {home}/ca.crt \\
    --auth-supernode-private-key {home}/node.key \\
    --host 127.0.0.1 --port {runtime_port} \\
    --node-config "site-file='{home}/site.toml'"
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
        federation: Where the SuperNode connects to.
        site: The site's name.
        home: The site's folder on its own machine; the programs lie in its `venv/bin`.
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
        address=federation.address,
        home=home,
        runtime_port=runtime_port,
    )
