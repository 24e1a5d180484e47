"""What all tests share: one thread a process, so that parallel tests do not fight over cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NO_COLOR", "1")
