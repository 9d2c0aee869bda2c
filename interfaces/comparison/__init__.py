"""Both paths beside each other: the same questions, answered in turns, and a report of it.

`answers.py` times an answer as its reader gets it, `service.py` starts what is asked, `figures.py`
holds the arithmetic, and `pictures.py` and `report.py` what people look at.
"""
