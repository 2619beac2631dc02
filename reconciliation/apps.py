from django.apps import AppConfig


class ReconciliationConfig(AppConfig):
    name = "reconciliation"
    verbose_name = "Reconciliation"

    def ready(self) -> None:
        """Enters what the pulse rings for."""
        from integrations.services.errands import enter  # noqa: PLC0415 - models are not loaded before
        from reconciliation.errands import ERRANDS  # noqa: PLC0415

        for errand in ERRANDS:
            enter(errand)
