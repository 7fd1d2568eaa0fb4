"""What holds for the tests of both projects.

`grocer` is imported here, before pytest meets the folder of that name: in import mode `importlib` pytest names a test
by its path, `grocer.tests.…`, and would take the project's folder for the package.
"""

from hypothesis import settings

import grocer  # noqa: F401

pytest_plugins = ["tests.servers.running"]

# A law promises nothing about time, and a busy machine would break its deadline; pytest's time-out bounds each test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
