"""The playground: a local web page to try trained models.

In:  best.pt files in outputs/ and its subfolders.
Out: a page on http://127.0.0.1:7860; no file is written.
Files: `command.py` starts it; `page.py` is the layout, with `style.css` and `drawing.js`; `rendering.py`
checks the user's input and fills `fragments.html`; `cache.py` loads models; `session.py` computes with one of
them; `drawing.py` prepares a drawing for a model.
"""
