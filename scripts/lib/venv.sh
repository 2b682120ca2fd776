# The interpreter and the virtual environment .venv. Sourced, not run. Needs say.sh, system.sh.

python_is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The mount tests also run as an ordinary user, who must be able to run the interpreter: one below /root will not do.
others_can_run() {
    [ "$(id -u)" -ne 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups "$1" -c '' >/dev/null 2>&1
}

# Sets $python: the first of PATH that is new enough, preferably one that others can run as well.
find_python() {
    local candidate fallback=
    for candidate in python3 python3.11 python3.12 python3.13 python3.14 /usr/bin/python3; do
        candidate=$(command -v "$candidate") || continue
        case $candidate in "$PWD"/.venv/*) continue ;; esac # active; it goes when the environment is made anew
        python_is_new_enough "$candidate" || continue
        fallback=${fallback:-$candidate}
        if others_can_run "$candidate"; then
            python=$candidate
            return 0
        fi
    done
    python=$fallback
    [ -n "$python" ]
}

# Debian keeps the module that puts pip into a new environment in a package of its own.
need_venv_module() {
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 && return
    local version
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    need_package_for_venv "$version"
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || die "$python cannot make virtual environments"
}

need_package_for_venv() {
    apt_log=$(mktemp)
    case $(readlink -f "$(command -v "$python")") in
        /usr/bin/*) apt_install "python$1-venv" ;;
        *) die "$python lacks the modules ensurepip and venv" "use a complete Python 3.11 or newer" ;;
    esac
}

# What the environment was made from; a change of any of it makes it anew.
venv_fingerprint() { { echo "$PWD $(readlink -f "$(command -v "$python")")"; "$python" -V; cat pyproject.toml; } | sha256sum; }

venv_is_good() {
    [ "$(cat .venv/made-from 2>/dev/null)" = "$(venv_fingerprint)" ] &&
        .venv/bin/python -c 'import click, cryptography, dbus_fast, noise, rich, serial, bumble, hypothesis, pytest, xdist' >/dev/null 2>&1 &&
        [ -x .venv/bin/phonevault ] && [ -x .venv/bin/phonevault-phone ]
}

# The virtual environment with the project (editable), its tools and everything they need.
need_venv() {
    find_python || { apt_log=$(mktemp); apt_install python3 python3-venv; find_python; } ||
        die "no Python 3.11 or newer found" "Debian 12 has it: apt-get install python3 python3-venv"
    local lock
    exec {lock}<. # the checkout itself: of two scripts started at once the second waits, and finds it made
    flock "$lock"
    venv_is_good || make_venv
    exec {lock}<&-
}

make_venv() {
    need_venv_module
    say "making .venv with $python ($("$python" -V))"
    rm -rf .venv
    "$python" -m venv .venv
    say "pip install -e '.[dev]'"
    .venv/bin/python -m pip install -q --disable-pip-version-check -e '.[dev]' ||
        die "pip could not install what pyproject.toml asks for" "look at the lines above; the network or the package index may be away"
    venv_fingerprint >.venv/made-from
}
