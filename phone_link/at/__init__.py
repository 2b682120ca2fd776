"""AT commands per ITU-T V.250 and 3GPP TS 27.007: types, codec, client, server."""
