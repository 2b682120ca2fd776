"""A lean Bluetooth Classic host over HCI: as much as it takes to open one RFCOMM connection, fast."""
