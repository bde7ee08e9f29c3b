#!/usr/bin/env bash
# The whole main job: install, train both tasks, reconstruct, generate, grade.
# Run again after an interruption, it goes on where it was.
set -euo pipefail
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
