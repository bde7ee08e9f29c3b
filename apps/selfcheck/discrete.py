"""Runs the checks of part 6 of the handout, whose blanks are in discrete.py. Shipped with that file only."""

from __future__ import annotations

from pathlib import Path

from apps.selfcheck.runner import finish, load, report
from vaelab.checks.checks import run_checks
from vaelab.checks.discrete_checks import DISCRETE_CHECKS
from vaelab.language import N_


def discrete_check(path: Path) -> bool:
    """Check the blanks of part 6 in a file. Returns: all passed."""
    try:
        discrete = load(path)
    except Exception as error:  # a student's code can raise anything
        report("", N_("discrete.py can be imported"), error, path.parent)
        return False
    results = run_checks(discrete, DISCRETE_CHECKS)
    return finish(results, len(DISCRETE_CHECKS), path.parent, "python check.py --discrete")
