from django.apps import AppConfig


class ReconciliationConfig(AppConfig):
    name = "reconciliation"
    verbose_name = "Reconciliation"

    def ready(self) -> None:
        """Enters what the pulse rings for, and who keeps what a repair's writes replace."""
        from integrations.services import errands, witness  # noqa: PLC0415 - models are not loaded before
        from reconciliation.preimages import PREIMAGES  # noqa: PLC0415

        errands.enter("reconciliation.errands")
        witness.enter(PREIMAGES)
