"""Search spaces: what can be searched, as declarative YAML; architectures from answers to choices.

The steps, each a module that knows the ones before it: :mod:`~nas.space.domains` and
:mod:`~nas.space.values` (one value), :mod:`~nas.space.schema` and :mod:`~nas.space.reading` (the
file), :mod:`~nas.space.meaning` (what its parts mean together), :mod:`~nas.space.layout` and
:mod:`~nas.space.compiling` (the flat vector of choices), :mod:`~nas.space.decoding`,
:mod:`~nas.space.encoding` and :mod:`~nas.space.counting` (vectors, architectures, how many),
:mod:`~nas.space.search_space` (all of it as one object), :mod:`~nas.space.fitting` (costs and
images). Left out: training, tasks, samplers.
"""

from nas.space.domains import Domain, NotInSpaceError, Options, Range
from nas.space.fitting import first_fit, smallest, smallest_by
from nas.space.search_space import Choices, SearchSpace, space_names

__all__ = [
    "Choices",
    "Domain",
    "NotInSpaceError",
    "Options",
    "Range",
    "SearchSpace",
    "first_fit",
    "smallest",
    "smallest_by",
    "space_names",
]
