"""The playground: a local web page to try trained models.

In:  best.pt files in outputs/ and the folders below.
Out: a page on http://127.0.0.1:7860; nothing is written.
Files: `command.py` starts it, `page.py` is the layout, `rendering.py` turns results into HTML, `session.py`
computes them.
"""
