"""The students' version: this repository without the answers.

In:  the solved submission.py with its BEGIN SOLUTION and END SOLUTION markers, and the files to ship.
Out: a folder with the blanks as TODOs, and manifest.json (sha256 of every file but submission.py).
Files: `build.py`; `scripts/make_student_version.py` is its command.
"""
