"""The report: one HTML page about two trainings and their grade.

In:  the graded arrays, and config.json, log.jsonl and samples/ of each run (all untrusted).
Out: outputs/report.html, one file that needs no network.
Files: `page.py` collects and checks the data, `charts.py` draws the curves, `report.html` is the template.
"""
