"""What a search found, as tables, picks, figures and diagrams; neither torch nor ray.

:mod:`~nas.analysis.tables` (frame to frame) and :mod:`~nas.analysis.picks` compute, without
plotly; :mod:`~nas.analysis.figures` draws tables, :mod:`~nas.analysis.diagrams` architectures.
"""
