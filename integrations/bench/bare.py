"""The bare loop: ``requests`` and ``json`` over the same pages, and nothing else. What everything is compared with."""

import json
import sys

import requests


def main(url: str) -> None:
    session = requests.Session()
    records, following = 0, f"{url}/v1/patients?per_page=100&q[]=archived_at:*"
    while following:
        answer = json.loads(session.get(following, timeout=20).content)
        records += len(answer["patients"])
        following = answer["links"].get("next", "")
    sys.stdout.write(f"{records}\n")


if __name__ == "__main__":
    main(sys.argv[1])
