"""The self-check: `python check.py` runs the checks of the handout's blanks on submission.py.

In:  submission.py.
Out: a line for each check; for the first that fails, the name of the mistake and a hint. Exit code 1 then.
Files: `runner.py` runs and prints; `trial_training.py` is `--full`; `hand_in.py` is `--hand_in`, which starts
`hand_in_trial.py` in a process of its own; `derivations.py` is `--derivation`, `formulas.py` evaluates the
formula that a student typed; the checks are in `vaelab/checks/`.
"""
