#!/usr/bin/env bash
# Install the Debian packages that some tests need and skip without: bash scripts/debian_packages.sh (as root)
set -euo pipefail
packages=(bubblewrap chromium slurm-wlm munge postgresql)

if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends "${packages[@]}"
fi
