"""Sweeps: train, infer and grade every configuration of a grid.

In:  environment variables named as train.py's options (LATENT_DIM="8 16" SEED="1 2"), JOBS, OUTPUT_DIR.
Out: a folder for each configuration with its result.json; sweep.csv and a plot for each task.
Files: `study.py` (the command) > `grid.py` (reads the grid), `trial.py` (runs one configuration), `worker.py`
(a process for one command); the results are read and drawn by `vaelab/sweep_results.py`.
"""
