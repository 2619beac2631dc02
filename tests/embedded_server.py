"""A pytest plugin (`-p tests.embedded_server`) that opens the embedded database before the settings are read.

pytest-django reads the settings before any conftest; workers of pytest-xdist inherit the environment made here.
"""

from config import embedded

embedded.prepare()
