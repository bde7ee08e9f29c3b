"""The applications, a folder each. None of them imports another."""
