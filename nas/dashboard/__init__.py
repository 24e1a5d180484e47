"""The workbench in a browser: runs looked at while they grow, and a network exported.

:func:`create_app` makes the Dash application, :func:`serve` puts it behind a WSGI server. Views
(:mod:`nas.dashboard.views`) show tables and figures of :mod:`nas.analysis`; what they see comes
from :mod:`~nas.dashboard.source`, and what is looked at stands in the page's address
(:mod:`~nas.dashboard.state`). Over HTTP all is read-only, but for an export into a run's own
directory. Neither torch nor ray.
"""

from nas.dashboard.app import create_app
from nas.dashboard.server import serve
from nas.dashboard.source import Snapshot, Source

__all__ = ["Snapshot", "Source", "create_app", "serve"]
