"""`python -m deploy.seeing`."""

from deploy.seeing.cli import app

if __name__ == "__main__":
    app()
