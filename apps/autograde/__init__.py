"""The autograder: grades untrusted submissions in sandboxes.

In:  a folder of submissions (folders or zip files), a data split.
Out: grades/: grades.csv, leaderboard.md, and a page and a JSON record for each submission.
Files: `command.py` (command line) > `submissions.py` (find and copy the files) > `grader.py` (one grade) >
`sandbox.py` (a sandboxed process: `limits.py`, `syscall_filter.py`) > `sandboxed_step.py` (runs inside);
arrays pass the boundary by `arrays.py`; `gradebook.py` writes the tables and pages.
"""
