#!/usr/bin/env bash
# Install Debian packages, as root. Without arguments: all that some tests need, and skip without.
#   bash scripts/debian_packages.sh               # bubblewrap with libseccomp, a browser, SLURM, a Chinese font, PostgreSQL
#   bash scripts/debian_packages.sh bubblewrap libseccomp2    # what grading needs
set -euo pipefail
packages=("$@")
[ $# -gt 0 ] || packages=(bubblewrap libseccomp2 chromium slurm-wlm munge fonts-wqy-microhei postgresql)

if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}"
fi
