"""The library of the lab: data, metrics, checkpoints, files, options. It imports nothing from above it."""
