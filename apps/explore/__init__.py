"""The figures: `python explore.py COMMAND` draws latent spaces and compares models.

In:  checkpoints, or models that the command trains and keeps in outputs/explore/models/.
Out: outputs/explore/<command>.png, .csv and .json; `page` collects them in docs/gallery.md.
Files: `command.py` is the command line and lists the figures; `context.py` trains and loads models;
`latent_space.py`, `likelihoods.py` and `comparisons.py` draw the figures; `gallery.py` writes the page.
"""
