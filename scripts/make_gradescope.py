"""Build an autograder for Gradescope: python scripts/make_gradescope.py --out autograder.zip"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from apps.autograde.gradescope import main  # noqa: E402
from vaelab.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
