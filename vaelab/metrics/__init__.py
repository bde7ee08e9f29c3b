"""Metrics: reconstruction, FID, the score, likelihoods, and checks for copies of training images."""
