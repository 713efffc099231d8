"""`python -m deploy.preflight`."""

from deploy.preflight.cli import app

if __name__ == "__main__":
    app()
