#!/usr/bin/env bash
# Make .venv and install a requirement file into it: bash scripts/install.sh requirements.txt
# Does nothing where the same file is already installed. PYTHON names the interpreter to use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
requirements=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: Python 3.11 or newer is needed, '$python' is not: name one, as in PYTHON=python3.12 bash $0" >&2
  exit 2
fi
[ -e .venv/pyvenv.cfg ] || "$python" -m venv .venv
bin=.venv/bin
[ -d "$bin" ] || bin=.venv/Scripts # Windows

installed=.venv/installed-$requirements
wanted=$(cat requirements*.txt)
if [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ]; then
  echo "installing $requirements into .venv"
  "$bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  printf '%s\n' "$wanted" >"$installed"
fi
