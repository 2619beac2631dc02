from django.apps import AppConfig
from django.core import checks


class ConfigConfig(AppConfig):
    name = "config"
    verbose_name = "Settings"

    def ready(self) -> None:
        from config import start  # noqa: PLC0415 - reads the settings, which are complete by now

        checks.register(start.check_queue)
        checks.register(start.check_deployment, deploy=True)
