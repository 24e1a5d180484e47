"""Searching: propose, train proxies, record.

:func:`~nas.search.launch.run_search` checks and begins; :mod:`~nas.search.driver` is the loop;
:mod:`~nas.search.ending` says when it ends, :mod:`~nas.search.rungs` who trains on;
:mod:`~nas.search.samplers` and :mod:`~nas.search.proposals` decide what is tried;
:mod:`~nas.search.executor` is the seam to what trains; :mod:`~nas.search.display` shows it.

Nothing is imported here: a worker process needs the training and neither Optuna nor pandas.
"""
