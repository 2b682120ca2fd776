"""A virtual machine with Debian's kernel and the real BlueZ, and the product in it; phone and radio are outside."""
