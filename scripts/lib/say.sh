# Messages of the shell scripts. Sourced, not run.

say() { printf '%s: %s\n' "${program:-phonevault}" "$*"; }

# die MESSAGE [HINT]
die() {
    printf 'error: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf 'hint: %s\n' "$2" >&2; fi
    exit 1
}

# step COMMAND…: shows the command, runs it, tells whether it worked.
step() {
    say "$*"
    "$@"
}
