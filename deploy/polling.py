"""A site's node asks its coordinator for work more often while there is work, and seldom while there is none.

Flower's SuperNode sleeps three seconds whenever it finds nothing to do, and half a second between looks
at its own program's answer. Both numbers stand in its code, with no option for them, so this is the one place
that changes how a private module of Flower behaves. A Flower whose loop looks otherwise is refused.
"""

import ast
import importlib
import inspect
import time
from typing import final

MODULE = "flwr.supernode.start_client_internal"
WAITS = {"sleep(3)", "sleep(0.5)"}  # where the loop has nothing to do, and where its own program works
IDLE_SECONDS = 3.0
LOCAL_SECONDS = 0.05
SHORTEST_SECONDS = 0.2
SHARE_OF_IDLE = 0.1


@final
class Clock:
    """Stands where Flower's loop expects the module `time`.

    Between two looks for work passes a tenth of the time since there was some: never under 0.2 seconds, never
    over Flower's 3. So a round loses a tenth of what it took, at most, and a night costs no more requests.
    """

    def __init__(self) -> None:
        self._worked = time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for as long as there is reason to, and never longer than asked."""
        if seconds < IDLE_SECONDS:
            time.sleep(min(seconds, LOCAL_SECONDS))
            self._worked = time.monotonic()
            return
        idle = time.monotonic() - self._worked
        time.sleep(min(seconds, max(SHORTEST_SECONDS, SHARE_OF_IDLE * idle)))


def poll_as_needed() -> None:
    """Change how often the SuperNode of this process asks for work; call it before the node starts.

    Raises:
        ImportError: If the installed Flower's loop is not the one that this was written for.
    """
    module = importlib.import_module(MODULE)
    clock = getattr(module, "time", None)
    if isinstance(clock, Clock):
        return
    if clock is not time or _uses_of_time(inspect.getsource(module)) != WAITS:
        raise ImportError(
            f"The loop of the installed Flower's SuperNode ({MODULE}) is not the one whose waits can be "
            "shortened. Install flwr 1.41, or start the node without shorter waits."
        )
    module.__dict__["time"] = Clock()


def _uses_of_time(source: str) -> set[str]:
    """What a module asks of the module `time`, each use as it is written."""
    return {
        ast.unparse(node).removeprefix("time.")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("time.")
    }
