"""`demo`: a whole federation on one machine, with real processes, keys, TLS and proxy; and what came of it."""

from deploy.demo.institutions import Institutions, make_institutions
from deploy.demo.play import make_room, play

__all__ = ["Institutions", "make_institutions", "make_room", "play"]
