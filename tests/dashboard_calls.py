"""A view's callbacks asked over HTTP, as the page asks them, without a browser; and what came."""

from __future__ import annotations

import json

from nas.dashboard import Source, create_app
from nas.dashboard.state import read_state


class Page:
    """An open address: the callbacks of its view, and the words in what they answer."""

    def __init__(self, runs, address="/front", *, theme="light", source=None):
        self.source = source or Source(runs, seconds=0.2)
        self.app = create_app(self.source)
        self.client = self.app.server.test_client()
        path, _, search = address.partition("?")
        self.values = {
            "address.pathname": path,
            "address.search": f"?{search}" if search else "",
            "version.data": "1",
            "theme.data": theme,
        }

    @property
    def state(self):
        """The address as it is read."""
        return read_state(
            self.values["address.pathname"], self.values["address.search"], self.source.names
        )

    def outputs(self, view):
        """The outputs of all callbacks of a view that the server answers, a set a callback."""
        return [
            key
            for key, one in self.app.callback_map.items()
            if f"{view}-" in key and "callback" in one
        ]

    def ask(self, output, *, changed=None, **values):
        """The answer of the callback that has ``output``, by component and property.

        ``changed`` names what it is asked for; all of its inputs without.

        ``values`` are inputs and states by their name with ``__`` for the dash and the dot, such
        as ``trials_grid__getRowsRequest``; what is not given is None.
        """
        key = next(key for key in self.app.callback_map if output in key.strip(".").split("..."))
        given = {name.replace("__", ".").replace("_", "-"): value for name, value in values.items()}
        given = {**self.values, **given}
        about = self.app.callback_map[key]

        def filled(items):
            return [
                {**item, "value": given.get(f"{item['id']}.{item['property']}")} for item in items
            ]

        names = [name.rsplit(".", 1) for name in key.strip(".").split("...")]
        outputs = [{"id": name, "property": kind} for name, kind in names]
        body = {
            "output": key,
            "outputs": outputs if key.startswith("..") else outputs[0],
            "inputs": filled(about["inputs"]),
            "state": filled(about["state"]),
            "changedPropIds": changed
            or [f"{item['id']}.{item['property']}" for item in about["inputs"]],
        }
        answer = self.client.post("/_dash-update-component", json=body)
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)["response"]

    def part(self, output, **values):
        """One component's property out of such an answer."""
        component, _, kind = output.rpartition(".")
        return self.ask(output, **values)[component][kind]

    def all_words(self, view):
        """The words of all that a view's callbacks answer."""
        answers = [self.ask(key.strip(".").split("...")[0]) for key in self.outputs(view)]
        return " ".join(words(answer) for answer in answers if answer)


def words(thing):
    """All text in components or figures as JSON, in order, for people to read."""
    if isinstance(thing, dict):
        return " ".join(filter(None, (words(value) for value in thing.values())))
    if isinstance(thing, list):
        return " ".join(filter(None, map(words, thing)))
    return str(thing) if isinstance(thing, str | int | float) and thing is not True else ""


def figure_numbers(figure):
    """The trial numbers that the marks of a figure carry."""
    found = [one for trace in figure["data"] for one in trace.get("customdata") or []]
    return {one[0] if isinstance(one, list) else one for one in found}
