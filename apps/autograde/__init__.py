"""The autograder: grades untrusted submissions in sandboxes.

In:  a folder of submissions (folders or zip files), a data split.
Out: grades/: grades.csv, leaderboard.md, and a page and a JSON record for each submission.
Files: `command.py` is the command line; `grading.py` grades a class; `submissions.py` finds and copies files;
`grader.py` grades one submission, with the `canaries.py`; `sandbox.py` runs a sandboxed process, with its
`limits.py` and `syscall_filter.py`; `sandboxed_step.py` is the program inside; `request.py` and `arrays.py`
define what is sent in and out; `gradebook.py` writes the tables and pages.
"""
