"""The virtual Bluetooth radio: real HCI controllers on one emulated air, in a process of its own."""
