"""Every key separation label of the phone's store, in one place."""

PIN_WRAP = "phonevault phone v1 pin"
PUK_WRAP = "phonevault phone v1 puk"
KEY_SEAL = b"phonevault phone v1 key seal"
