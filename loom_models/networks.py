"""What a state of the Wi-Fi connection tells of its network: name, band, channel, and a hint of what it is.

Columns are those of `WifiState`. A state that is connected and names neither network nor access point (Android says
`<unknown ssid>` to apps without the right) tells nothing.
"""

from typing import Final

import polars as pl

_NO_SSID: Final = ("", "<unknown ssid>", "0x", "unknown ssid", "<none>")
_NO_BSSID: Final = ("", "02:00:00:00:00:00", "00:00:00:00:00:00", "any", "<none>")
_TRIMMED: Final = ' "'


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{w}'" for w in words)


TELLS_SQL: Final = (
    f"(NOT connected OR coalesce(lower(btrim(ssid, '{_TRIMMED}')) NOT IN ({_listed(_NO_SSID)}), false) "
    f"OR coalesce(lower(btrim(bssid, '{_TRIMMED}')) NOT IN ({_listed(_NO_BSSID)}), false))"
)
"""SQL over a row of device.network.wifi.raw: whether it tells on which network the device is, or that it is on none."""

_PHONES: Final = (
    r"(?i)\b(iphone|ipad|androidap|android ?hotspot|mobile ?hotspot|my ?hotspot|mifi|redmi|oneplus|nothing phone|"
    r"pixel[ _-]?\d|galaxy[ _-]?[asz]\d|moto [geg]\d|tether)"
)
_TETHERED: Final = r"^(172\.20\.10\.|192\.168\.43\.)"
"""Addresses that iOS, and Android before 11, give to those who share the phone's connection."""
_FOR_ALL: Final = (
    r"(?i)(\bfree\b|public|\bguests?\b|\bgast\b|gäste|visitors?\b|hotel|hostel|airport|flughafen|wifi4eu|starbucks|"
    r"mcdonald|wifionice|sbb-free|telekom_fon|xfinitywifi|boingo|\blibrary\b|\bcaf[eé]\b)"
)
_OPEN: Final = ("open", "none", "owe", "wpa_open", "unsecured", "enhanced open", "[ess]")


def bssid() -> pl.Expr:
    """Address of the access point in small letters; null where it is none."""
    text = pl.col("bssid").str.strip_chars(_TRIMMED).str.to_lowercase()
    return pl.when(pl.col("connected") & ~text.is_in(_NO_BSSID)).then(text).alias("bssid")


def network() -> pl.Expr:
    """The network's name, else its access point's address; null where the device is on none, or it is not told."""
    text = pl.col("ssid").str.strip_chars(_TRIMMED)
    name = pl.when(~text.str.to_lowercase().is_in(_NO_SSID)).then(text)
    return pl.when("connected").then(pl.coalesce(name, bssid())).alias("network")


def is_open() -> pl.Expr:
    """Whether anybody can join the network, encrypted (OWE, RFC 8110) or not; null where `security` says nothing."""
    text = pl.col("security").str.strip_chars().str.to_lowercase()
    return pl.when("connected").then(text.is_in(_OPEN)).alias("is_open")


def hint() -> pl.Expr:
    """`hotspot` for a phone that shares its connection, `public` for a network that is open or called so; else null."""
    name, address = pl.col("ssid").fill_null(""), pl.col("ip_address").fill_null("")
    return (
        pl.when(~pl.col("connected"))
        .then(None)
        .when(name.str.contains(_PHONES) | address.str.contains(_TETHERED))
        .then(pl.lit("hotspot"))
        .when(is_open().fill_null(False) | name.str.contains(_FOR_ALL))
        .then(pl.lit("public"))
        .otherwise(None)
        .alias("hint")
    )


def signal_quality() -> pl.Expr:
    """0 at -100 dBm or less, 1 at -50 dBm or more, a line between (as Windows does: WLAN_ASSOCIATION_ATTRIBUTES)."""
    return pl.when("connected").then(((pl.col("signal_dbm") + 100.0) / 50.0).clip(0.0, 1.0)).alias("signal_quality")


def band() -> pl.Expr:
    """The band of `frequency_mhz` (IEEE 802.11-2020, annex E); null for a frequency of none."""
    at = pl.col("frequency_mhz")
    return (
        pl.when(at.is_between(2_400, 2_500))
        .then(pl.lit("2.4 GHz"))
        .when(at.is_between(5_150, 5_925, closed="left"))
        .then(pl.lit("5 GHz"))
        .when(at.is_between(5_925, 7_125))
        .then(pl.lit("6 GHz"))
        .when(at.is_between(57_000, 71_000))
        .then(pl.lit("60 GHz"))
        .alias("band")
    )


def channel() -> pl.Expr:
    """The channel whose centre `frequency_mhz` is, in the band; null where it is no channel's."""
    at = pl.col("frequency_mhz")
    base = (
        pl.when(at.is_between(2_407, 2_477))
        .then(2_407.0)
        .when(at.is_between(5_150, 5_925, closed="left"))
        .then(5_000.0)
        .when(at.is_between(5_935, 7_125))
        .then(5_950.0)
    )
    number = (at - base) / 5.0
    whole = pl.when((number > 0) & (number == number.floor())).then(number)
    return (
        pl.when(at == 2_484.0).then(14.0).when(at == 5_935.0).then(2.0).otherwise(whole).cast(pl.Int64).alias("channel")
    )
