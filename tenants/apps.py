from django.apps import AppConfig
from django.core import checks
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    name = "tenants"
    verbose_name = "Who owns what"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tenants import checks as walls  # noqa: PLC0415 - models must be loaded first
        from tenants import guard  # noqa: PLC0415
        from tenants.grants import grant_third_party  # noqa: PLC0415

        connection_created.connect(guard.install, dispatch_uid="tenants.guard")
        post_migrate.connect(grant_third_party, sender=self, dispatch_uid="tenants.grants")
        checks.register(walls.check_models, checks.Tags.models)
        checks.register(walls.check_admins, checks.Tags.admin)
        checks.register(walls.check_database, checks.Tags.database)
