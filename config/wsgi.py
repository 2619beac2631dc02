"""The web server's way in: ``gunicorn config.wsgi``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from config.start import refuse_unsafe_start  # noqa: E402 - the apps are loaded only now

refuse_unsafe_start()
