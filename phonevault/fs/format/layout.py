"""Offsets and sizes of AES-256-GCM contents (docs/format.md 4.1). Pure arithmetic, all values in bytes."""

from __future__ import annotations

HEADER_BYTES = 128
NONCE_BYTES = 12
TAG_BYTES = 16
OVERHEAD_BYTES = NONCE_BYTES + TAG_BYTES


class Layout:
    """The arithmetic for one block size.

    Args:
        block_size: plaintext bytes of a block.
    """

    __slots__ = ("block_size", "cipher_block")

    def __init__(self, block_size: int) -> None:
        self.block_size = block_size
        self.cipher_block = block_size + OVERHEAD_BYTES

    @property
    def hole_bytes(self) -> int:
        """Plaintext of the smallest hole; holes begin and end at multiples of it."""
        return self.block_size

    @property
    def cipher_hole(self) -> int:
        """Ciphertext of the smallest hole."""
        return self.cipher_block

    def plain_size(self, cipher_size: int) -> int:
        """Size of the plaintext of a ciphertext file of this length."""
        body = cipher_size - HEADER_BYTES
        if body <= 0:
            return 0
        blocks, rest = divmod(body, self.cipher_block)
        return blocks * self.block_size + max(rest - OVERHEAD_BYTES, 0)

    def cipher_size(self, plain_size: int) -> int:
        """Length of the ciphertext file for this much plaintext."""
        if plain_size == 0:
            return 0
        blocks, rest = divmod(plain_size, self.block_size)
        return HEADER_BYTES + blocks * self.cipher_block + (rest + OVERHEAD_BYTES if rest else 0)

    def torn(self, cipher_size: int) -> bool:
        """Whether no sequence of whole writes gives this length."""
        if cipher_size == 0:
            return False
        body = cipher_size - HEADER_BYTES
        return body <= 0 or 0 < body % self.cipher_block <= OVERHEAD_BYTES

    def broken(self, cipher_size: int) -> bool:
        """Whether a file of this length has no contents and no writer, even an interrupted one, left it so.

        An interrupted first write may leave the header alone, and nothing was promised of it: such a file is empty.
        """
        return self.torn(cipher_size) and self.plain_size(cipher_size) == 0 and cipher_size != HEADER_BYTES

    def offset_of(self, block: int) -> int:
        """Where a block begins in the ciphertext file."""
        return HEADER_BYTES + block * self.cipher_block

    def blocks_of(self, size: int) -> int:
        """How many blocks hold ``size`` bytes of plaintext."""
        return -(-size // self.block_size)

    def scratch_bytes(self, request_bytes: int) -> int:
        """Memory for the ciphertext of a request of this size, at any offset, and a header."""
        return HEADER_BYTES + (request_bytes // self.block_size + 2) * self.cipher_block


AES_BLOCK_BYTES = 16
PAGE_BYTES = 4096


class XtsLayout(Layout):
    """The arithmetic of AES-256-XTS contents (docs/format.md 4.2): the length is kept but for the last 16-byte block.

    Args:
        block_size: bytes of a data unit.
    """

    __slots__ = ()

    @property
    def hole_bytes(self) -> int:
        """A page."""
        return PAGE_BYTES

    @property
    def cipher_hole(self) -> int:
        """A page."""
        return PAGE_BYTES

    def plain_size(self, cipher_size: int) -> int:
        """Size of the plaintext of a ciphertext file of this length."""
        blocks, rest = divmod(max(cipher_size - HEADER_BYTES, 0), AES_BLOCK_BYTES)
        return blocks * AES_BLOCK_BYTES if not rest else max(blocks - 1, 0) * AES_BLOCK_BYTES + rest

    def cipher_size(self, plain_size: int) -> int:
        """Length of the ciphertext file for this much plaintext."""
        if plain_size == 0:
            return 0
        rest = plain_size % AES_BLOCK_BYTES
        return HEADER_BYTES + plain_size + (AES_BLOCK_BYTES if rest else 0)

    def torn(self, cipher_size: int) -> bool:
        """Whether no sequence of whole writes gives this length."""
        body = cipher_size - HEADER_BYTES
        return cipher_size != 0 and (body <= 0 or body < AES_BLOCK_BYTES)

    def scratch_bytes(self, request_bytes: int) -> int:
        """Memory for the units of a request of this size, at any offset, and what ``update_into`` wants beyond."""
        return request_bytes + 2 * self.block_size + 2 * PAGE_BYTES
