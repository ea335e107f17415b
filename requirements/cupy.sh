#!/bin/sh
# Hold the package against the real CuPy, the lowest and the newest that it supports.
# No GPU is needed, and none is used: tests/real_cupy says what can be seen without one.
#
# usage: requirements/cupy.sh PYTHON [write]    write: tests/cupy_api.txt anew, no tests
set -eu

python=$1
folder=build/cupy

fail() {
    printf 'kfac_ref: %s\n' "$@" >&2
    exit 1
}

old_enough() { "$1" -c 'import sys; sys.exit(sys.version_info >= (3, 13))' 2>/dev/null; }

install() { # which, python; the copy of the lock comes last: what failed is tried again
    lock=requirements/cupy-$1.txt
    if ! cmp -s "$lock" "$folder/$1/lock.txt"; then
        echo "kfac_ref: installing the packages of $lock into $folder/$1"
        "$2" -m venv --clear "$folder/$1"
        PIP_DISABLE_PIP_VERSION_CHECK=1 "$folder/$1/bin/python" -m pip install --quiet \
            --no-deps --require-hashes -r "$lock"
        cp "$lock" "$folder/$1/lock.txt"
    fi
    "$folder/$1/bin/python" tests/cupy_api.py >"$folder/$1.txt"
}

versions=newest
install newest "$python"
for older in "$python" python3.12 python3.11; do
    if old_enough "$older"; then
        install lowest "$older"
        versions='lowest newest'
        break
    fi
done

if [ "$versions" = newest ]; then
    [ -z "${2:-}" ] || fail "CuPy 13.3 needs Python 3.12 or older to be listed"
    echo "kfac_ref: CuPy 13.3 has no build for this Python: the newest CuPy alone"
else
    "$python" tests/cupy_api.py "$folder/lowest.txt" "$folder/newest.txt" \
        >"$folder/common.txt"
    if [ -n "${2:-}" ]; then
        cp "$folder/common.txt" tests/cupy_api.txt
        exit
    fi
    diff tests/cupy_api.txt "$folder/common.txt" ||
        fail "tests/cupy_api.txt is not what both versions have; run: make cupy-api"
fi

rm -rf "$folder/calls"
mkdir "$folder/calls"
export KFAC_REF_CALLS="$folder/calls"
echo "kfac_ref: recording what the tests call on the stand-in"
"$python" -m pytest --quiet -n auto -k strict
for which in $versions; do
    echo "kfac_ref: calling it on the $which CuPy"
    "$folder/$which/bin/python" -m pytest --quiet -p no:cacheprovider \
        --confcutdir=tests/real_cupy tests/real_cupy
done
