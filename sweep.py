"""Train, infer and grade every configuration of a grid: see scripts/sweep.sh."""

from apps.sweep.study import main
from vaelab.cli import run

if __name__ == "__main__":
    run(main)
