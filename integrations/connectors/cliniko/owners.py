"""Who treats: the e-mail address of a practitioner, who has none, through the user that the practitioner is."""

from collections.abc import Collection, Mapping

from integrations.connectors.cliniko.lists import Listing
from integrations.connectors.cliniko.rows import reference, text_of
from integrations.connectors.cliniko.tables import look_up
from integrations.toolkit.http import Client

_PRACTITIONERS = Listing("practitioners")
_USERS = Listing("users")
_INACTIVE = (("q[]", "active:=false"),)  # the plain list holds active ones only


def emails(client: Client, practitioners: Collection[str]) -> Mapping[str, str | None]:
    """The addresses of these practitioners, None where a hop is missing: left staff, somebody who is no user."""
    rows = dict(look_up(client, _PRACTITIONERS, practitioners, members=("user",)))
    absent = set(practitioners) - rows.keys()
    rows |= look_up(client, _PRACTITIONERS, absent, members=("user",), filters=_INACTIVE)
    users = {key: reference(rows.get(key, {}), "user") for key in practitioners}
    known = look_up(client, _USERS, {user for user in users.values() if user}, members=("email",))
    return {key: text_of(known.get(user or "", {}), "email") for key, user in users.items()}
