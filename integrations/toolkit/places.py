"""Countries and Australian states: from what people type to the codes that systems exchange."""

import unicodedata

from integrations.core.rules import Context, Transform, Unusable
from integrations.core.values import Value, clean_text
from integrations.toolkit.phones import PHONE_TRANSFORM

# ISO 3166-1 alpha-2, English short names in common use.
_NAMES = """
AD Andorra|AE United Arab Emirates|AF Afghanistan|AG Antigua and Barbuda|AI Anguilla|AL Albania|AM Armenia|AO Angola|AQ Antarctica
AR Argentina|AS American Samoa|AT Austria|AU Australia|AW Aruba|AX Aland Islands|AZ Azerbaijan|BA Bosnia and Herzegovina|BB Barbados
BD Bangladesh|BE Belgium|BF Burkina Faso|BG Bulgaria|BH Bahrain|BI Burundi|BJ Benin|BL Saint Barthelemy|BM Bermuda|BN Brunei|BO Bolivia
BQ Caribbean Netherlands|BR Brazil|BS Bahamas|BT Bhutan|BV Bouvet Island|BW Botswana|BY Belarus|BZ Belize|CA Canada|CC Cocos (Keeling) Islands
CD Democratic Republic of the Congo|CF Central African Republic|CG Congo|CH Switzerland|CI Cote d'Ivoire|CK Cook Islands|CL Chile|CM Cameroon
CN China|CO Colombia|CR Costa Rica|CU Cuba|CV Cape Verde|CW Curacao|CX Christmas Island|CY Cyprus|CZ Czechia|DE Germany|DJ Djibouti|DK Denmark
DM Dominica|DO Dominican Republic|DZ Algeria|EC Ecuador|EE Estonia|EG Egypt|EH Western Sahara|ER Eritrea|ES Spain|ET Ethiopia|FI Finland|FJ Fiji
FK Falkland Islands|FM Micronesia|FO Faroe Islands|FR France|GA Gabon|GB United Kingdom|GD Grenada|GE Georgia|GF French Guiana|GG Guernsey
GH Ghana|GI Gibraltar|GL Greenland|GM Gambia|GN Guinea|GP Guadeloupe|GQ Equatorial Guinea|GR Greece|GS South Georgia and the South Sandwich Islands
GT Guatemala|GU Guam|GW Guinea-Bissau|GY Guyana|HK Hong Kong|HM Heard Island and McDonald Islands|HN Honduras|HR Croatia|HT Haiti|HU Hungary
ID Indonesia|IE Ireland|IL Israel|IM Isle of Man|IN India|IO British Indian Ocean Territory|IQ Iraq|IR Iran|IS Iceland|IT Italy|JE Jersey
JM Jamaica|JO Jordan|JP Japan|KE Kenya|KG Kyrgyzstan|KH Cambodia|KI Kiribati|KM Comoros|KN Saint Kitts and Nevis|KP North Korea|KR South Korea
KW Kuwait|KY Cayman Islands|KZ Kazakhstan|LA Laos|LB Lebanon|LC Saint Lucia|LI Liechtenstein|LK Sri Lanka|LR Liberia|LS Lesotho|LT Lithuania
LU Luxembourg|LV Latvia|LY Libya|MA Morocco|MC Monaco|MD Moldova|ME Montenegro|MF Saint Martin|MG Madagascar|MH Marshall Islands
MK North Macedonia|ML Mali|MM Myanmar|MN Mongolia|MO Macao|MP Northern Mariana Islands|MQ Martinique|MR Mauritania|MS Montserrat|MT Malta
MU Mauritius|MV Maldives|MW Malawi|MX Mexico|MY Malaysia|MZ Mozambique|NA Namibia|NC New Caledonia|NE Niger|NF Norfolk Island|NG Nigeria
NI Nicaragua|NL Netherlands|NO Norway|NP Nepal|NR Nauru|NU Niue|NZ New Zealand|OM Oman|PA Panama|PE Peru|PF French Polynesia|PG Papua New Guinea
PH Philippines|PK Pakistan|PL Poland|PM Saint Pierre and Miquelon|PN Pitcairn|PR Puerto Rico|PS Palestine|PT Portugal|PW Palau|PY Paraguay
QA Qatar|RE Reunion|RO Romania|RS Serbia|RU Russia|RW Rwanda|SA Saudi Arabia|SB Solomon Islands|SC Seychelles|SD Sudan|SE Sweden|SG Singapore
SH Saint Helena|SI Slovenia|SJ Svalbard and Jan Mayen|SK Slovakia|SL Sierra Leone|SM San Marino|SN Senegal|SO Somalia|SR Suriname|SS South Sudan
ST Sao Tome and Principe|SV El Salvador|SX Sint Maarten|SY Syria|SZ Eswatini|TC Turks and Caicos Islands|TD Chad|TF French Southern Territories
TG Togo|TH Thailand|TJ Tajikistan|TK Tokelau|TL Timor-Leste|TM Turkmenistan|TN Tunisia|TO Tonga|TR Turkey|TT Trinidad and Tobago|TV Tuvalu
TW Taiwan|TZ Tanzania|UA Ukraine|UG Uganda|UM United States Minor Outlying Islands|US United States|UY Uruguay|UZ Uzbekistan|VA Vatican City
VC Saint Vincent and the Grenadines|VE Venezuela|VG British Virgin Islands|VI United States Virgin Islands|VN Vietnam|VU Vanuatu
WF Wallis and Futuna|WS Samoa|YE Yemen|YT Mayotte|ZA South Africa|ZM Zambia|ZW Zimbabwe
"""
_ALSO = """
AU Aus|AU Commonwealth of Australia|NZ Aotearoa|NZ Aotearoa New Zealand|GB UK|GB Great Britain|GB Britain|GB England|GB Scotland|GB Wales
GB Northern Ireland|GB United Kingdom of Great Britain and Northern Ireland|US USA|US United States of America|US America|US U.S.A.|US U.S.
GB U.K.|AE UAE|KR Republic of Korea|KR Korea|CZ Czech Republic|NL The Netherlands|NL Holland|VN Viet Nam|RU Russian Federation|IR Islamic Republic of Iran
TW Taiwan, Province of China|HK Hong Kong SAR|MO Macau|TR Turkiye|CI Ivory Coast|CD DR Congo|CG Republic of the Congo|SZ Swaziland|MK Macedonia
MM Burma|TL East Timor|CV Cabo Verde|SY Syrian Arab Republic|TZ United Republic of Tanzania|BO Plurinational State of Bolivia|IE Republic of Ireland
IE Eire|CN People's Republic of China|PS Palestinian Territories|VA Holy See|FM Federated States of Micronesia|MD Republic of Moldova|GM The Gambia|BS The Bahamas
"""
_STATES = {
    "NSW": "new south wales", "VIC": "victoria", "QLD": "queensland", "SA": "south australia", "WA": "western australia",
    "TAS": "tasmania", "ACT": "australian capital territory", "NT": "northern territory",
}  # fmt: skip


def _plain(text: str) -> str:
    """Letters without accents, lower case, single blanks."""
    letters = unicodedata.normalize("NFKD", clean_text(text)).encode("ascii", "ignore").decode("ascii")
    return " ".join(letters.replace(".", "").replace("&", " and ").lower().split())


def _table(lines: str) -> dict[str, str]:
    entries = (entry.split(" ", 1) for line in lines.split("\n") for entry in line.split("|") if entry)
    return {_plain(name): code for code, name in entries}


_COUNTRIES = _table(_NAMES) | _table(_ALSO)
_CODES = frozenset(_COUNTRIES.values())
_STATE_CODES = {name: code for code, name in _STATES.items()} | {code.lower(): code for code in _STATES}


def country_code(text: str) -> str | None:
    """The ISO 3166-1 alpha-2 code for a code or a common English name, or None."""
    if text in _CODES:
        return text
    upper = clean_text(text).upper()
    return upper if upper in _CODES else _COUNTRIES.get(_plain(text))


def au_state(text: str) -> str | None:
    """The code of an Australian state or territory, or None."""
    return text if text in _STATES else _STATE_CODES.get(_plain(text).removeprefix("au-"))


def _country(value: Value, _: Context) -> Value:
    if not isinstance(value, str):
        raise Unusable("rule.not_text")
    if not value.strip():
        return None
    code = country_code(value)
    if code is None:
        raise Unusable("rule.country_unknown")
    return code


def _state(value: Value, context: Context) -> Value:
    if not isinstance(value, str):
        raise Unusable("rule.not_text")
    trimmed = clean_text(value)
    return (au_state(trimmed) if context.country == "AU" else None) or trimmed or None


COUNTRY = Transform("country_code", "Two-letter country code, from a code or an English name", _country)
AU_STATE = Transform("au_state", "Code of the Australian state (VIC, NSW ..); other text is only trimmed", _state)

TOOLKIT_TRANSFORMS: dict[str, Transform] = {
    transform.name: transform for transform in (PHONE_TRANSFORM, COUNTRY, AU_STATE)
}
