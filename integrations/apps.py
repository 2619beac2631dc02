from django.apps import AppConfig


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Integrations"

    def ready(self) -> None:
        """Enters what the pulse rings for."""
        from integrations.services import errands  # noqa: PLC0415 - models are not loaded before

        errands.enter("integrations.errands")
