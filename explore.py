"""Draw latent spaces and compare models: `python explore.py --help` lists the commands."""

from apps.explore.command import main
from vaelab.cli import run

if __name__ == "__main__":
    run(main)
