"""Two sides, staged, and joined as a report joins them.

    python -m reconciliation.bench stage COUNT SLUG
    python -m reconciliation.bench compare COUNT SLUG

``stage`` makes a clinic whose records are all linked. ``compare`` prints how many records are to be looked at again, each
with its fields.
"""

import json
import sys

import django

django.setup()

from reconciliation.bench import sides  # noqa: E402 - once Django is set up

METHODS = {"stage": sides.stage, "compare": sides.compare}
method, count, slug = sys.argv[1:4]
sys.stdout.write(json.dumps(METHODS[method](int(count), slug)) + "\n")
