"""Tags in addresses: ``user+tag@domain``, for the routes that ask for it (``envelope_tag``, ``plus_tag``).

The local part may have 64 octets (RFC 5321 4.5.3.1.1), so an address with more than 34 before the ``@`` has no room:
a rule of the configuration says so at the start, not the first canary.
"""

from __future__ import annotations

import re

from probe.canary.identity import TAG_LENGTH

LOCAL_PART_MOST = 64  # RFC 5321 4.5.3.1.1
ADDRESS_MOST = 254  # RFC 5321 4.5.3.1.3: a path has 256 octets with its angle brackets
DELIMITER = "+"

# A dot-string (RFC 5321 4.1.2), ASCII: what is quoted would have to be quoted anew.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_TAG = re.compile(f"[A-Za-z2-7]{{{TAG_LENGTH}}}")


class NoRoomForTag(ValueError):
    """An address cannot take a tag; the text says why, and is fit for a configuration error."""


def tagged(address: str, tag: str) -> str:
    """``address`` with ``+tag`` at the end of its local part; NoRoomForTag where that is no longer an address.

    ValueError where ``tag`` has not the shape of one.
    """
    if _TAG.fullmatch(tag) is None:
        raise ValueError(f"a tag has {TAG_LENGTH} characters of a-z2-7")
    local, _, domain = address.rpartition("@")
    if not domain or _LOCAL_PART.fullmatch(local) is None:
        raise NoRoomForTag("a tag needs a plain ASCII address, its local part not quoted")
    room = LOCAL_PART_MOST - len(DELIMITER) - TAG_LENGTH
    if len(local) > room:
        raise NoRoomForTag(
            f"its local part has {len(local)} octets; with a tag of {TAG_LENGTH} and a {DELIMITER!r} it would pass the "
            f"{LOCAL_PART_MOST} of RFC 5321 4.5.3.1.1: at most {room} fit"
        )
    result = f"{local}{DELIMITER}{tag}@{domain}"
    if len(result) > ADDRESS_MOST:
        raise NoRoomForTag(f"with a tag it would have {len(result)} octets, more than the {ADDRESS_MOST} of an address")
    return result


def untaggable(address: str) -> str | None:
    """Why ``address`` cannot take a tag, as the end of a sentence ("... cannot be tagged: ..."), or None if it can."""
    try:
        tagged(address, "a" * TAG_LENGTH)
    except NoRoomForTag as error:
        return str(error)
    return None


def split_tag(address: str) -> tuple[str, str]:
    """The address without its tag, and what stands where a tag stands and is shaped like one, of either case, or "".

    The text is not verified: that is for the keyring. Nothing raises.
    """
    local, _, domain = address.rpartition("@")
    user, _, tag = local.rpartition(DELIMITER)
    if not user or _TAG.fullmatch(tag) is None:
        return address, ""
    return f"{user}@{domain}", tag
