"""Build the students' version: python scripts/make_student_version.py --out student/"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from apps.student_version.build import main  # noqa: E402
from vaelab.cli import run  # noqa: E402

if __name__ == "__main__":
    run(main)
