#!/usr/bin/env bash
# Install the lab, train both tasks with the defaults, reconstruct, generate, and grade:
#   bash scripts/quickstart.sh
# After an interruption, run it again: it continues. The results are written to outputs/.
set -euo pipefail
if [ $# -gt 0 ]; then
  sed -n '2,/^set/s/^# //p' "${BASH_SOURCE[0]}" # the comment above
  case $1 in
    -h | --help) exit 0 ;;
  esac
  echo "error: expected no arguments, got '$*'" >&2
  exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/install.sh requirements.txt
export PATH="$PWD/.venv/bin:$PWD/.venv/Scripts:$PATH"

for task in VAE0label Genwithlabel; do
  echo
  python train.py --task "$task" --resume
  python inference.py --checkpoint_path "outputs/$task/best.pt"
done
echo
python grade.py
echo
echo "The pictures:"
ls outputs/*/loss_curve.png outputs/*/valid/*.png
