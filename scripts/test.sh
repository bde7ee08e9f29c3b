#!/usr/bin/env bash
# Install, lint and run every test; more arguments go to pytest: bash scripts/test.sh -k resume
# Tests on real MNIST run where VAE_LAB_DATA names the folder of its four files, and skip elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh requirements/test.txt
export PATH="$PWD/.venv/bin:$PWD/.venv/Scripts:$PATH"

ruff format --check .
ruff check .
python -m pytest -n auto "$@"
