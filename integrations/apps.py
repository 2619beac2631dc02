import gc

from django.apps import AppConfig

YOUNG_OBJECTS = 50_000


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Integrations"

    def ready(self) -> None:
        """What was imported stays, and a page of records frees itself: looking for cycles after every 700 objects, as
        Python is shipped, costs a tenth of a first load."""
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, 20, 20)
