"""The mount daemon: the lock state machine, the link to the phone, the control socket."""
