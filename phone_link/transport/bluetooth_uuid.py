"""The Bluetooth service under which a phone offers phonevault."""

SERVICE_UUID = "87a009e5-acce-4b82-bb39-980de755136e"
"""Random (RFC 9562 version 4), fixed for ever. A phone's service record (SDP) has it as its service class,
with the protocol stack L2CAP, RFCOMM (server channel chosen by the phone)."""
