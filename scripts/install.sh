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
venv_python() { # its place on Linux and macOS, or on Windows
  if [ -d .venv/Scripts ]; then .venv/Scripts/python "$@"; else .venv/bin/python "$@"; fi
}
# --clear: whatever an interrupted set-up left is made anew.
venv_python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv

installed=.venv/installed-${requirements//\//-}
wanted=$(cat requirements.txt requirements/*.txt)
if [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ]; then
  echo "installing $requirements into .venv"
  venv_python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  printf '%s\n' "$wanted" >"$installed"
fi
