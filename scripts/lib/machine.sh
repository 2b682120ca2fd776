# What the virtual machine of scripts/test-bluez needs of this system. Sourced, not run. Needs say.sh, system.sh.

need_machine() {
    [ "$(uname -m)" = x86_64 ] || die "the machine is an x86-64 one, this computer is not"
    command -v apt-get >/dev/null 2>&1 || die "no apt-get: the machine's kernel and BlueZ are Debian's packages"
    apt_log=$(mktemp)
    need_commands qemu-system-x86_64=qemu-system-x86 busybox=busybox-static depmod=kmod
    busybox_is_static || apt_install busybox-static
    need_package_lists
    rm -f "$apt_log"
}

# Debian's other busybox needs libraries, which the machine does not have at its first breath.
busybox_is_static() { ! ldd "$(command -v busybox)" >/dev/null 2>&1; }

need_package_lists() {
    [ -n "$(apt-cache madison bluez 2>/dev/null)" ] && return
    say "fetching the package lists"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null >"$apt_log" 2>&1 ||
        { cat "$apt_log" >&2; die "apt-get update failed"; }
}
