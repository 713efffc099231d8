"""Apps for Flower: one sends tensors to a site and back, one never ends."""

from pathlib import Path

PROJECT = """
[project]
name = "tiny"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "tiny.server:app"
clientapp = "tiny.client:app"
[tool.flwr.app.config]
"""
ECHOING_SERVER = """
from pathlib import Path
import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import ServerApp
app = ServerApp()
@app.main()
def main(grid, context):
    [node] = grid.get_node_ids()
    zeros = ArrayRecord([np.zeros(3_000_000, np.float32)])
    asked = Message(RecordDict({"x": zeros}), dst_node_id=node, message_type="query")
    [reply] = grid.send_and_receive([asked], timeout=120)
    [ones] = reply.content["x"].to_numpy_ndarrays()
    assert ones.min() == 1 == ones.max()
    Path("echo.txt").write_text(f"{ones.nbytes} bytes came back as ones")
"""
ENDLESS_SERVER = """
import time
from pathlib import Path
from flwr.serverapp import ServerApp
app = ServerApp()
@app.main()
def main(grid, context):
    Path("endless.txt").touch()
    time.sleep(600)
"""
CLIENT = """
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
app = ClientApp()
@app.query()
def query(message, context):
    [zeros] = message.content["x"].to_numpy_ndarrays()
    return Message(RecordDict({"x": ArrayRecord([zeros + 1])}), reply_to=message)
"""


def write_app(folder: Path, server: str) -> Path:
    """Write an app into a folder, and give the folder."""
    (folder / "tiny").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "tiny" / "__init__.py").touch()
    (folder / "tiny" / "server.py").write_text(server)
    (folder / "tiny" / "client.py").write_text(CLIENT)
    return folder
