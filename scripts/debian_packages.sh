#!/usr/bin/env bash
# Install Debian packages, as root. Without arguments: all that some tests need, and skip without.
#   bash scripts/debian_packages.sh               # bubblewrap, a browser, SLURM, a Chinese font
#   bash scripts/debian_packages.sh bubblewrap    # what grading needs
set -euo pipefail
packages=("$@")
[ $# -gt 0 ] || packages=(bubblewrap chromium slurm-wlm munge fonts-wqy-microhei)

if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}"
fi
