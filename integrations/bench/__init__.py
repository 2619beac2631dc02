"""Speed and memory, measured against the bare loop: what ``manage.py bench`` runs. Nothing else imports this."""
