"""Sweeps: train, infer and grade every configuration of a grid, or search ranges with Optuna.

    environment variables -> space.py (lists and ranges of values) -> command.py (worker processes, progress)
    worker.py, one process: study.py (takes a trial from Optuna's storage) -> trial.py (trains and grades it)

In:  environment variables named as train.py's options (LATENT_DIM="8 16" LR="1e-4..1e-2:log"), JOBS, ...
Out: a folder for each configuration with its result.json; the study in Optuna's storage; sweep.csv and a
     figure for each task, which `vaelab/sweep_results.py` makes from the folders.
"""
