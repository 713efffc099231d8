"""Is the port free on which the SuperNode talks to its own processes?"""

import errno
import socket
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises


@final
class RuntimePort(AbstractCheck):
    """The SuperNode's runtime port on the loopback can be opened: in use, the SuperNode would end at once."""

    name = "runtime-port"
    asks = "Is the SuperNode's own port free?"

    def look(self, premises: Premises) -> Finding:
        port = premises.wish.runtime_port
        if port is None:
            return self.skipped("No port was named (--runtime-port; the unit file has it).")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                taken.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                why = "in use" if error.errno == errno.EADDRINUSE else "one that only root may open"
                return self.fix(
                    f"Port {port} of the loopback is {why}.",
                    "If this site's SuperNode runs already, that is it, and all is well; otherwise name "
                    "another "
                    "--port in the unit file.",
                    measured={"port": port},
                )
        return self.passed(f"Port {port} of the loopback is free.", measured={"port": port})
