"""`python -m deploy`."""

from deploy.cli import app

if __name__ == "__main__":
    app()
