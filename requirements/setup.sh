#!/bin/sh
# Make the virtual environment: the packages of requirements/lock.txt, with their
# hashes checked, and this package itself, editable.
#
# usage: requirements/setup.sh VENV [PYTHON]
set -eu

venv=$1
wanted=${2:-}
candidates=${wanted:-python3.13 python3.12 python3.11 python3 python}
version='import sys; print("%d.%d" % sys.version_info[:2])'
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'

fail() {
    printf 'kfac_ref: %s\n' "$@" >&2
    exit 1
}

find_python() { # sets python, and asked: its version
    found=
    for python in $candidates; do
        asked=$("$python" -c "$version" 2>/dev/null) || continue
        if "$python" -c "$new_enough"; then return; fi
        found="$found $python ($asked)"
    done
    fail "needs Python 3.11 or later; looked for: $candidates" \
        "found:${found:- none of them}" \
        "install one, or say where it is: make PYTHON=/path/to/python3.12 ..."
}

usable() { # does the environment that is there run, with pip, and is it new enough?
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        "$venv/bin/python" -c "$new_enough"
}

if usable; then
    has=$("$venv/bin/python" -c "$version")
    if [ -n "$wanted" ]; then
        find_python
        [ "$asked" = "$has" ] || fail \
            "$venv has Python $has, but PYTHON=$wanted is $asked; run 'make clean' first"
    fi
else
    find_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
        "$python has no venv module to make $venv with" \
        "install it (Debian, Ubuntu: apt install python3-venv), or name another" \
        "interpreter: make PYTHON=/path/to/python3.12 ..."
    echo "kfac_ref: making $venv with $python ($asked)"
    "$python" -m venv --clear "$venv"
fi

echo "kfac_ref: installing the packages of requirements/lock.txt into $venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# The lock is complete, so nothing is left to resolve: without --no-deps pip would ask
# the registry what else there is, and what is new there tomorrow would break today's lock.
pip() { "$venv/bin/python" -m pip "$@"; }
pip install --quiet --no-deps --require-hashes -r requirements/lock.txt
pip install --quiet --no-deps --no-build-isolation --editable .
pip check >/dev/null || fail "the packages in $venv do not fit together:" "$(pip check)" \
    "run 'make clean', then try again"
