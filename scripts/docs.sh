#!/usr/bin/env bash
# Build the documents as a site and show it on http://localhost:8000:
#   bash scripts/docs.sh                  # the staff's site
#   bash scripts/docs.sh --students       # without the pages for staff
#   bash scripts/docs.sh --no_serve       # only build it, into site/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
serve=(--serve)
arguments=()
for argument in "$@"; do
  case $argument in
    -h | --help)
      sed -n '2,/^set/s/^# //p' "${BASH_SOURCE[0]}" # the comment above
      exit 0
      ;;
    --no_serve) serve=() ;;
    *) arguments+=("$argument") ;;
  esac
done
bash scripts/install.sh requirements/docs.txt
export PATH="$PWD/.venv/bin:$PWD/.venv/Scripts:$PATH"

python -m apps.site.build "${serve[@]}" "${arguments[@]}"
