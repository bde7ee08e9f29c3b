#!/usr/bin/env bash
# Install, lint and run the tests: all of them, or those that pytest's arguments choose:
#   bash scripts/test.sh tests/unit        # under a minute; also: -k resume, -m 'not slow'
# Tests on real MNIST run where VAE_LAB_DATA names the folder of its four files, and skip elsewhere.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh requirements/test.txt
export PATH="$PWD/.venv/bin:$PWD/.venv/Scripts:$PATH"

ruff format --check .
ruff check .
# loadgroup: tests of one xdist_group go to one worker, which makes what they share once.
python -m pytest -n auto --dist loadgroup "$@"
