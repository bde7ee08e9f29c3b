"""Grade the submission in ROOT/submission and write ROOT/results/results.json; run_autograder calls this."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from apps.autograde.on_gradescope import main  # noqa: E402
from vaelab.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
