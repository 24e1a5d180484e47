"""A search of many workers on a simulated clock, in which the driver's own time is real.

``clock`` has the clock and what the driver does when, ``curves`` what a training would report,
``workers`` the executor, ``search`` runs the product's search on them, ``measures`` says what came
of it. benchmarks/scaling.py asks the questions.
"""
