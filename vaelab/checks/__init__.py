"""The checks of the handout's blanks.

In:  the module of a submission.py.
Out: for each check that is run, None or a `CheckFailed` with the name of the mistake and a hint.
Files: `checks.py` lists the checks and runs them; `model_checks.py` and `loss_checks.py` define them;
`assertions.py` has the conditions that several of them test; `test_doubles.py` has the submission under test,
and the encoder and decoder that replace its own; `diagnosis.py` finds the mistake that explains a wrong loss;
`overfit.py` has the steps of the short training; `explanation.py` gives the name of a mistake and a hint for
any error.
"""
