"""The software module: RSA keys of the store, sealed under the master key that the PIN opens."""

from __future__ import annotations

import hashlib
import os
import threading

from phone_link.cryptoki import CKG, CKM, CKR, OaepParameters
from phone_link.errors import DecryptFailed, KeyNotFound, PhoneError, PinRequired
from phone_link.phone.clock import utc_now
from phone_link.phone.keyfile import MAX_ID_BYTES, MAX_LABEL, KeyFile
from phone_link.phone.module import ModuleInfo, NewKey
from phone_link.phone.objects import KeyDescription
from phone_link.phone.pin import MAX_PIN, MIN_PIN
from phone_link.phone.pin_guard import open_with_pin
from phone_link.phone.store import MAX_KEYS, Store
from phone_link.phone.store_format import PIN_TRIES
from phone_link.wipe import wipe

KEY_SIZES = (2048, 3072, 4096)
PUBLIC_EXPONENT = 65537


class SoftwareModule:
    """`CryptographicModule` over a `Store`. The master key is in memory from login to logout."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._master: bytearray | None = None
        self._store_id = store.load().store_id
        self._keys = {key.id: key for key in store.read_keys()}
        self._descriptions = {key.id: describe(key) for key in self._keys.values()}

    @property
    def logged_in(self) -> bool:
        """True while the master key is here."""
        return self._master is not None

    def info(self) -> ModuleInfo:
        """Read the PIN state from the store."""
        phone = self._store.load()
        return ModuleInfo(
            label=phone.name,
            manufacturer="phonevault",
            model="software",
            serial=phone.store_id.hex()[:16],
            pin_tries_left=phone.pin_tries,
            pin_tries_total=PIN_TRIES,
            shortest_pin=MIN_PIN,
            longest_pin=MAX_PIN,
        )

    def key_pairs(self) -> tuple[KeyDescription, ...]:
        """Return the key pairs, oldest first."""
        with self._lock:
            return tuple(self._descriptions.values())

    def login(self, pin: bytearray) -> None:
        """Open the master key with the PIN; `PinIncorrect`, `PinLocked`."""
        master = open_with_pin(self._store, pin)
        self.login_with_master(master)

    def login_with_master(self, master: bytearray) -> None:
        """Take over an open master key."""
        with self._lock:
            self.logout()
            self._master = master

    def logout(self) -> None:
        """Wipe the master key."""
        with self._lock:
            if self._master is not None:
                wipe(self._master)
                self._master = None

    def decrypt_oaep(self, key_id: bytes, parameters: OaepParameters, ciphertext: bytes) -> bytearray:
        """RSAES-OAEP with SHA-256 (RFC 8017 7.1.2); see `CryptographicModule`.

        Raises:
            PhoneError: CKR_MECHANISM_PARAM_INVALID for another hash, CKR_KEY_FUNCTION_NOT_PERMITTED.
            KeyNotFound, PinRequired, DecryptFailed
        """
        if (parameters.hash_mechanism, parameters.mask_generation) != (CKM.SHA256, CKG.MGF1_SHA256):
            raise PhoneError(CKR.MECHANISM_PARAM_INVALID, "only OAEP with SHA-256 is supported")
        with self._lock:
            key = self._keys.get(key_id)
            if key is None:
                raise KeyNotFound()
            if "decrypt" not in key.usage:
                raise PhoneError(CKR.KEY_FUNCTION_NOT_PERMITTED, "this key does not decrypt")
            private = key.open_private(self._require_master(), self._store_id)
        try:
            return _rsa_decrypt(private, parameters.label, ciphertext)
        finally:
            wipe(private)

    def generate(self, request: NewKey) -> KeyDescription:
        """Make an RSA key pair, seal and write it.

        Raises:
            PhoneError: CKR_KEY_SIZE_RANGE, CKR_ATTRIBUTE_VALUE_INVALID (id taken or too long,
                label too long), CKR_DEVICE_MEMORY (too many keys).
            PinRequired: not logged in.
        """
        self._check_request(request)
        private, public = _new_key_pair(request.bits)
        try:
            return self._keep(request, private, public)
        finally:
            wipe(private)

    def random(self, count: int) -> bytes:
        """Return bytes of the kernel's generator."""
        return os.urandom(count)

    def _require_master(self) -> bytearray:
        if self._master is None:
            raise PinRequired()
        return self._master

    def _check_request(self, request: NewKey) -> None:
        if request.bits not in KEY_SIZES:
            raise PhoneError(CKR.KEY_SIZE_RANGE, "keys have 2048, 3072 or 4096 bits")
        if len(request.key_id) > MAX_ID_BYTES or len(request.label) > MAX_LABEL:
            raise PhoneError(CKR.ATTRIBUTE_VALUE_INVALID, "the key's id or label is too long")
        with self._lock:
            self._require_master()
            if request.key_id in self._keys:
                raise PhoneError(CKR.ATTRIBUTE_VALUE_INVALID, "a key with this id exists")
            if len(self._keys) >= MAX_KEYS:
                raise PhoneError(CKR.DEVICE_MEMORY, "too many keys")

    def _keep(self, request: NewKey, private: bytearray, public: bytes) -> KeyDescription:
        key_id = request.key_id or hashlib.sha256(public).digest()
        clear = KeyFile(key_id, request.label, request.policy, request.usage, utc_now(), public)
        with self._lock:
            self._check_request(request)  # again: making the key took a while, without the lock
            key = clear.with_private(private, self._require_master(), self._store_id)
            self._store.write_key(key)
            self._keys[key.id] = key
            self._descriptions[key.id] = describe(key)
            return self._descriptions[key.id]


def describe(key: KeyFile) -> KeyDescription:
    """Return the public facts of a key file; `StoreDamaged` if its public key is no RSA key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    from phone_link.phone.errors import StoreDamaged

    try:
        public = load_der_public_key(key.public)
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, RSAPublicKey):
        raise StoreDamaged(f"key {key.file_name} is damaged (public key)")
    numbers = public.public_numbers()
    return KeyDescription(key.id, key.label, key.policy, key.usage, numbers.n, numbers.e, key.public)


def _new_key_pair(bits: int) -> tuple[bytearray, bytes]:
    """Return a fresh private key as PKCS#8 DER and its public key as SubjectPublicKeyInfo DER."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(PUBLIC_EXPONENT, bits)
    der = key.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption())
    private = bytearray(der)
    wipe(der)
    public = key.public_key().public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
    return private, public


def _rsa_decrypt(private: bytearray, label: bytes, ciphertext: bytes) -> bytearray:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    # It was sealed by us and just authenticated: the slow check of an RSA key's numbers adds nothing.
    key = load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise DecryptFailed()
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), label)
    try:
        plaintext = key.decrypt(ciphertext, oaep)
    except ValueError:  # wrong length, wrong padding, number too large: one answer
        raise DecryptFailed() from None
    secret = bytearray(plaintext)
    wipe(plaintext)
    return secret
