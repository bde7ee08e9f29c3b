"""Open a local web page to try trained models."""

from apps.playground.command import main
from vaelab.cli import run

if __name__ == "__main__":
    run(main)
