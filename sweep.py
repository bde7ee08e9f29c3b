"""Train, infer and grade every configuration of a grid, or search ranges: see scripts/sweep.sh."""

from apps.sweep.command import main
from vaelab.cli import run

if __name__ == "__main__":
    run(main)
