#!/usr/bin/env bash
# Draw every figure of explore.py and write docs/gallery.md: bash scripts/gallery.sh
# It takes about an hour on two cores, most of it for `dims`; models that are already trained are used again.
# CIFAR10_DIR is a folder with CIFAR-10 (see dataset/README.md); without it, CIFAR-10 is downloaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh requirements.txt
export PATH="$PWD/.venv/bin:$PWD/.venv/Scripts:$PATH"

for command in line plane scatter balance walk codes dims likelihood "likelihood --table" classes compare \
  "discrete --images 10000"; do
  echo
  echo "== $command"
  # shellcheck disable=SC2086  # a command and its options
  python explore.py $command
done
for command in colour "discrete --dataset cifar10"; do
  echo
  echo "== $command"
  # shellcheck disable=SC2086
  env -u VAE_LAB_DATA python explore.py $command ${CIFAR10_DIR:+--data_dir "$CIFAR10_DIR"}
done
python explore.py page
