"""Training: the step, the loop, the schedule, validation; and one network fully.

Everything runs on the device the images lie on. Same (architecture, recipe, seed): same bits on
a processor. Left out: what is trained for how long (:mod:`nas.evaluate`, :mod:`nas.search`).
"""
