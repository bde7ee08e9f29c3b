"""The students' version: this repository without the solutions.

In:  the solved submission.py with its BEGIN SOLUTION and END SOLUTION markers, and the files to ship.
Out: a folder whose submission.py has TODOs, and manifest.json (sha256 of every file except submission.py).
Files: `blanks.py` replaces the solutions, `build.py` copies and checks the files;
`scripts/make_student_version.py` is the command.
"""
