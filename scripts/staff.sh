#!/usr/bin/env bash
# Install what only staff needs, into .venv/compare50: bash scripts/staff.sh
# compare50, for autograde.py --similarity, needs older packages than the lab: it gets an environment of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
[ -d .venv ] || { echo "error: there is no .venv: bash scripts/install.sh requirements.txt makes it" >&2; exit 2; }
if ! .venv/compare50/bin/python -c 'import compare50' 2>/dev/null; then
  "$python" -m venv --clear .venv/compare50
  .venv/compare50/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/staff.txt
fi
