#!/usr/bin/env bash
# Train, reconstruct, generate and grade every configuration of a grid, which is given by environment variables
# named as train.py's options:
#   LATENT_DIM="8 16 24" VAR="0.01 0.1" SEED="1 2 3" EPOCHS=5 JOBS=2 bash scripts/sweep.sh
# A range instead of a list makes it a search of TRIALS configurations (SAMPLER=tpe|gp|random, seeded by
# SAMPLER_SEED; PRUNER=median|hyperband|none stops unpromising ones early):
#   LATENT_DIM="8..40" LR="3e-4..1e-2:log" TRIALS=40 JOBS=2 bash scripts/sweep.sh
# JOBS: configurations at once, which share the cores (default: 1). OUTPUT_DIR: default outputs/sweep. TASK:
# default both. After an interruption, run the same command again: finished configurations are kept. STORAGE:
# sqlite (default), journal (for network file systems) or postgresql://...; docs/cluster.md explains them.
#
# The same on many machines, which share the work; as a SLURM job array:
#   LATENT_DIM="8 16 24" SEED="1 2 3" STORAGE=journal sbatch --array=0-8 scripts/sweep.sh
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
if ! python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("optuna"))'; then
  echo "installing requirements/sweep.txt, which a sweep needs"
  python -m pip install --quiet --disable-pip-version-check -r "$here/requirements/sweep.txt"
fi

cores=${SLURM_CPUS_ON_NODE:-$(python -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')}
if [[ ${JOBS:-1} =~ ^[1-9][0-9]*$ ]]; then # sweep.py reports a wrong value
  threads=$((cores / ${JOBS:-1}))
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
fi
exec python "$here/sweep.py" "$@"
