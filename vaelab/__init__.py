"""The library of the lab: data, metrics, checkpoints, files, options. It imports no other part of it."""
