"""Trials handed to a storage: as Optuna makes them, without a copy, once."""

import copy

import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from nas.records.templates import new_trial

DISTRIBUTIONS = {
    "width": IntDistribution(8, 64, step=8),
    "kind": CategoricalDistribution(("a", "b")),
}
PARAMS = {"kind": "b", "width": 24}


def test_it_is_the_trial_that_optuna_makes():
    for state, values in ((TrialState.RUNNING, None), (TrialState.COMPLETE, [0.5, 2.0])):
        mine = new_trial(state, PARAMS, DISTRIBUTIONS, values=values, user_attrs={"key": [1]})
        theirs = create_trial(
            state=state,
            values=values,
            params=PARAMS,
            distributions=DISTRIBUTIONS,
            user_attrs={"key": [1]},
        )
        mine._validate()
        assert (mine.params, mine.distributions) == (theirs.params, theirs.distributions)
        assert (mine.state, mine.values, mine.user_attrs) == (state, values, {"key": [1]})
        assert (mine.datetime_complete is None) == (theirs.datetime_complete is None)


def test_a_storage_keeps_the_parameters_uncopied_and_later_copies_are_deep():
    storage = InMemoryStorage()
    study_id = storage.create_new_study([StudyDirection.MINIMIZE] * 2, "one")
    given = new_trial(TrialState.RUNNING, PARAMS, DISTRIBUTIONS, user_attrs={"list": [1]})
    trial_id = storage.create_new_trial(study_id, given)
    kept = storage.get_trial(trial_id)
    assert kept is not given
    assert kept.params is given.params
    copied = copy.deepcopy(kept)
    assert copied.number == kept.number == 0
    assert copied.user_attrs is not kept.user_attrs
    storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5, 2.0])
    study = optuna.load_study(study_name="one", storage=storage)
    assert study.trials[0].values == [0.5, 2.0]
    assert study.trials[0].params == PARAMS
