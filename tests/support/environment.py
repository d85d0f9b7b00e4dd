"""A pytest plugin (`-p` in pyproject.toml) that is imported before any other reads the environment.

pytest-django reads the settings as soon as DJANGO_SETTINGS_MODULE is set, which in xdist's workers it is from the start; so the
variables must be this run's own before that, and never a database that somebody works with.
"""

from tests.support import servers

servers.prepare_environment()
