"""The report: one HTML page about the trainings of all tasks and their grades.

In:  the graded arrays, and config.json, log.jsonl and samples/ of each run (all untrusted).
Out: outputs/report.html, one file that needs no network.
Files: `run_data.py` reads and checks the files of a run, `pictures.py` makes the grids of images, `charts.py`
computes the curves, `hints.py` measures next steps, `page.py` fills the template `report.html`.
"""
