#!/usr/bin/env bash
# Create .venv and install a requirements file into it: bash scripts/install.sh requirements.txt
# It does nothing if the same file is already installed. PYTHON is the interpreter to use (default: python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
requirements=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: Python 3.11 or newer is needed, and '$python' is older: name another, as in PYTHON=python3.12 bash $0" >&2
  exit 2
fi
venv_python() { # the interpreter of .venv on Linux and macOS, or on Windows
  if [ -d .venv/Scripts ]; then .venv/Scripts/python "$@"; else .venv/bin/python "$@"; fi
}
# --clear: replaces an incomplete .venv of an interrupted installation.
venv_python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv

installed=.venv/installed-${requirements//\//-}
wanted=$(cat requirements.txt requirements/*.txt)
if [ "$(cat "$installed" 2>/dev/null)" != "$wanted" ]; then
  echo "installing $requirements into .venv"
  venv_python -m pip install --quiet --disable-pip-version-check -r "$requirements"
  printf '%s\n' "$wanted" >"$installed"
fi
