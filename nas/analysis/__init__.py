"""What a search found, as tables, picks, figures and diagrams; neither torch nor ray.

Tables go from frame to frame, without plotly: :mod:`~nas.analysis.tables` and
:mod:`~nas.analysis.picks` of one run, :mod:`~nas.analysis.near_front` around its front,
:mod:`~nas.analysis.progress` while it goes on, :mod:`~nas.analysis.importance`,
:mod:`~nas.analysis.structure`, :mod:`~nas.analysis.along_front` and
:mod:`~nas.analysis.parallel` of its choices; :mod:`~nas.analysis.comparison`,
:mod:`~nas.analysis.attainment`, :mod:`~nas.analysis.repeats` and
:mod:`~nas.analysis.run_groups` of several. Modules named ``...figures`` draw them,
:mod:`~nas.analysis.diagrams` draws architectures. What each number means: docs/analysis.md.
"""
