"""Grade untrusted submissions: python autograde.py SUBMISSIONS --split test."""

from apps.autograde.command import main
from vaelab.cli import run

if __name__ == "__main__":
    run(main)
