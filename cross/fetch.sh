# Read by the scripts of this directory, not run: what they install and fetch, they do in one way. Each sets
# `me`, its name in what is said.

say() { echo "$me: $*" >&2; }

fail() {
    say "$*"
    exit 69
}

# packages COMMAND:PACKAGE...: installs the Debian packages whose command is missing.
packages() {
    local missing=() entry
    for entry in "$@"; do
        command -v "${entry%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${entry%%:*}" ] ||
            missing+=("${entry#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# install_packages PACKAGE...: as root; PACKAGE:ARCHITECTURE is one of another machine.
install_packages() {
    local as_root=() entry
    command -v apt-get >/dev/null 2>&1 || fail "please install: $* (no apt-get on this system)"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || fail "please install as root: apt-get install $*"
        as_root=(sudo)
    fi
    say "installing $*"
    for entry in "$@"; do
        case $entry in *:*) "${as_root[@]}" dpkg --add-architecture "${entry#*:}" ;; esac
    done
    # A list that is a little old may still do; another apt at work is waited for.
    "${as_root[@]}" apt-get update -q >&2 || true
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "$@" >&2 ||
        fail "could not install $*; is there a network?"
}

sum() { sha256sum "$1" | cut -d' ' -f1; }

mirror() {
    local found=${DEBIAN_MIRROR:-}
    # shellcheck disable=SC2016 # apt-get fills it in
    [ -n "$found" ] || found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
        2>/dev/null | grep -m 1 '/debian/$') || true
    found=${found:-http://deb.debian.org/debian}
    echo "${found%/}"
}

# fetch_sources TABLE DIRECTORY: what the table names out of Debian's archive: SHA-256, name, place in the
# pool. What is whole already is not fetched again.
fetch_sources() {
    local from hash name path file
    from=$(mirror)
    mkdir -p "$2"
    while read -r hash name path; do
        file=$2/${path##*/}
        if [ ! -f "$file" ]; then
            say "fetching $name (${path##*/})"
            curl --fail --silent --show-error --location --retry 3 --output "$file.part" "$from/pool/$path" ||
                fail "$name could not be fetched from $from; is there a network? DEBIAN_MIRROR names another mirror"
            mv "$file.part" "$file"
        fi
        if [ "$(sum "$file")" != "$hash" ]; then
            rm -f "$file"
            fail "$name is not the file that was expected (SHA-256 $hash); it is deleted, try again"
        fi
    done < <(grep -v '^#' "$1")
}

# python_tools DIRECTORY REQUIREMENT...: a virtual environment with these packages from PyPI.
python_tools() {
    local directory=$1
    shift
    [ "$(cat "$directory/complete" 2>/dev/null)" != "$*" ] || return 0
    packages python3:python3
    python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
    say "fetching $*"
    rm -rf "$directory"
    python3 -m venv "$directory" || fail "python3 cannot make a virtual environment in $directory"
    "$directory/bin/pip" install --quiet --disable-pip-version-check "$@" >&2 ||
        fail "$* could not be fetched from PyPI; is there a network?"
    echo "$*" >"$directory/complete"
}
