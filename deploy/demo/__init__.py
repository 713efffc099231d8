"""`demo`: a whole federation on one machine: real processes, keys, TLS, proxy; and what came of it."""

from deploy.demo.institutions import Institutions, make_institutions
from deploy.demo.play import make_room, play

__all__ = ["Institutions", "make_institutions", "make_room", "play"]
