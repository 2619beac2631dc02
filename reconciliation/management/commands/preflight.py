from tenants.management.notyet import NotYetCommand


class Command(NotYetCommand):
    name = "preflight"
