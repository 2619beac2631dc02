"""The sample agency of ``manage.py demo``: three made-up clinics at sandboxed vendors, and three people."""
