# Packages of the system and /dev/fuse. Sourced, not run. Needs say.sh.

# as_root COMMAND…
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        die "this needs root: $*" "run it as root, or install sudo"
    fi
}

# apt_install PACKAGE…
apt_install() {
    command -v apt-get >/dev/null 2>&1 ||
        die "missing: $*, and there is no apt-get" "install them with the package manager of this system"
    say "installing $*"
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null >"$apt_log" 2>&1; then
        say "fetching the package lists first"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null >"$apt_log" 2>&1 ||
            { cat "$apt_log" >&2; die "apt-get update failed"; }
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null >"$apt_log" 2>&1 ||
            { cat "$apt_log" >&2; die "apt-get could not install $*"; }
    fi
    rm -f "$apt_log"
}

# need_commands COMMAND=PACKAGE…: installs the packages whose command is missing.
need_commands() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
    done
    if [ ${#missing[@]} -gt 0 ]; then apt_install "${missing[@]}"; fi
}

# The device through which the kernel hands file system requests to a program. It must be open to all users:
# fusermount3, although setuid root, opens it with the rights of its caller.
need_fuse_device() {
    if [ ! -c /dev/fuse ]; then make_fuse_device; fi
    if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
        say "/dev/fuse has the mode $(stat -c %a /dev/fuse): giving it 666, udev's usual mode, so that ordinary users can mount"
        as_root chmod 666 /dev/fuse || say "that did not work; mounting works for root only"
    fi
}

make_fuse_device() {
    say "no /dev/fuse: loading the kernel module"
    as_root modprobe fuse 2>/dev/null || true
    if [ ! -c /dev/fuse ] && grep -qw fuse /proc/filesystems; then
        as_root mknod -m 666 /dev/fuse c 10 229 || true
    fi
    [ -c /dev/fuse ] || die "this kernel offers no /dev/fuse" \
        "load the module fuse, or, in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
}

# fusermount3 looks an ordinary user's mount up there before it takes it away. Containers may lack it.
need_mtab() {
    [ -e /etc/mtab ] && return
    say "no /etc/mtab: making it a link to /proc/self/mounts, as systemd does"
    as_root ln -sf ../proc/self/mounts /etc/mtab
}

# Programs that mounting and the tests call.
need_system() {
    apt_log=$(mktemp)
    need_commands fusermount3=fuse3 git=git rsync=rsync dbus-daemon=dbus-daemon setfacl=acl
    need_fuse_device
    need_mtab
    rm -f "$apt_log"
}
