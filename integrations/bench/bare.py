"""The bare loop: ``requests`` and ``json`` over the same pages, and nothing else. What everything is compared with.

    python -m integrations.bench.bare URL [DOCUMENT]

Of the practice's patients; of the shop's customers where a GraphQL document is named.
"""

import json
import sys

import requests


def patients(url: str) -> int:
    session = requests.Session()
    records, following = 0, f"{url}/v1/patients?per_page=100&q[]=archived_at:*"
    while following:
        answer = json.loads(session.get(following, timeout=20).content)
        records += len(answer["patients"])
        following = answer["links"].get("next", "")
    return records


def customers(url: str, document: str) -> int:
    session = requests.Session()
    records, after, goes_on = 0, None, True
    while goes_on:
        asked = {"query": document, "variables": {"first": 100, "after": after, "query": None}}
        answer = json.loads(session.post(url, json=asked, timeout=20).content)["data"]["customers"]
        records += len(answer["nodes"])
        after, goes_on = answer["pageInfo"]["endCursor"], answer["pageInfo"]["hasNextPage"]
    return records


if __name__ == "__main__":
    count = customers(*sys.argv[1:3]) if len(sys.argv) > 2 else patients(sys.argv[1])
    sys.stdout.write(f"{count}\n")
