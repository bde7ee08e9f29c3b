"""The figures: `python explore.py COMMAND` draws latent spaces and compares models.

In:  checkpoints, or models that the command trains and keeps in outputs/explore/models/.
Out: outputs/explore/<command>.png, .csv and .json; `page` collects them in docs/gallery.md.
Files: `command.py` is the command line, `models.py` trains and loads models, `latent_space.py` and
`comparisons.py` hold the commands.
"""
