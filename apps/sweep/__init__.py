"""The sweep: train, infer and grade every configuration of a grid, in parallel.

In:  environment variables named as the options of train.py, e.g. LATENT_DIM="8 16".
Out: a folder for each configuration with its result.json, then sweep.csv and sweep.png.
Files: `grid.py` reads the variables, `study.py` runs the configurations, `worker.py` starts the commands.
"""
