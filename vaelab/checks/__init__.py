"""The checks of the handout's blanks, used by `check.py` and by the autograder."""
