"""The training of the check that the VAE overfits sixteen images, in `check.py` and in the autograder."""

OVERFIT_STEPS = 80
# Maximum norm of the gradient: without it, the training of 10 of 56 right submissions diverged.
OVERFIT_CLIP = 10.0
