"""`python -m simulations`."""

from simulations.cli import app

if __name__ == "__main__":
    app()
