#!/usr/bin/env bash
# Train, reconstruct, generate and grade every configuration of a grid, which is given by environment variables
# named as train.py's options:
#   LATENT_DIM="8 16 24" VAR="0.01 0.1" SEED="1 2 3" EPOCHS=5 JOBS=2 bash scripts/sweep.sh
# JOBS: configurations at once, which share the cores (default: 1). OUTPUT_DIR: default outputs/sweep. TASK:
# default both. After an interruption, run the same command again: finished configurations are kept.
#
# The same as a SLURM job array, in which each task runs its share of the grid:
#   LATENT_DIM="8 16 24" SEED="1 2 3" sbatch --array=0-8 scripts/sweep.sh
#SBATCH --job-name=vae-sweep
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")/..
# SLURM runs a copy of this file: then the lab is the folder in which sbatch was called.
[ -f "$here/sweep.py" ] || here=${SLURM_SUBMIT_DIR:-.}
if ! [ -f "$here/sweep.py" ]; then
  echo "error: there is no sweep.py in $here: call sbatch in the folder of the lab" >&2
  exit 2
fi
for bin in "$here/.venv/bin" "$here/.venv/Scripts"; do
  if [ -d "$bin" ]; then export PATH="$bin:$PATH"; fi
done

cores=${SLURM_CPUS_ON_NODE:-$(python -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')}
if [[ ${JOBS:-1} =~ ^[1-9][0-9]*$ ]]; then # sweep.py reports a wrong value
  threads=$((cores / ${JOBS:-1}))
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
fi
exec python "$here/sweep.py" "$@"
