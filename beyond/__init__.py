"""Additions to a submission's model, which go beyond the lab. Not part of the students' version."""
