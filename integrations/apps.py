import gc

from django.apps import AppConfig

YOUNG_OBJECTS = 50_000


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Integrations"

    def ready(self) -> None:
        """Enters what the pulse rings for. What was imported stays, and a page of records frees itself: looking for cycles after every 700 objects, as
        Python is shipped, costs a tenth of a first load."""
        from integrations.errands import ERRANDS  # noqa: PLC0415 - models are not loaded before
        from integrations.services.errands import enter  # noqa: PLC0415

        for errand in ERRANDS:
            enter(errand)
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, 20, 20)
