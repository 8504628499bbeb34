#!/bin/sh
# The public header under every compiler and standard: what is right compiles without a warning, what is wrong does not compile and
# the message helps (misuse.txt). A C++ program is built, linked and run.
#
#     tests/headers/check.sh [WORDS...]       only the cases whose name contains one of them
#
# BUILD is the build directory [build]. The last line is "N passed, N failed".
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 2
BUILD=${BUILD:-build}
WARN="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -Iinclude"
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 words=$*

fits() {
    [ -z "$words" ] && return 0
    for word in $words; do
        case $1 in *"$word"*) return 0 ;; esac
    done
    return 1
}

pass() { passed=$((passed + 1)); }
fail() { # name, what is wrong, a file to show
    failed=$((failed + 1))
    echo "FAIL $1: $2"
    head -n 15 "$3"
}

compiles() { # name, command…
    name=$1
    shift
    fits "$name" || return 0
    if "$@" > "$scratch/out" 2>&1; then pass; else fail "$name" "does not compile" "$scratch/out"; fi
}

refused() { # name, pattern, command…
    name=$1 pattern=$2
    shift 2
    fits "$name" || return 0
    if "$@" > "$scratch/out" 2>&1; then fail "$name" "compiles" "$scratch/code"
    elif tr '\n' ' ' < "$scratch/out" | grep -Eq "$pattern"; then pass
    else fail "$name" "the message does not say: $pattern" "$scratch/out"
    fi
}

program() { # code: a program with that in it, on stdout
    printf '%s\n' '#include <ferry/ferry.h>' 'struct thing { int a; };' \
        'void f(ferry_value *map, ferry_request *req, const ferry_value *value);' \
        'void f(ferry_value *map, ferry_request *req, const ferry_value *value)' '{' \
        'int number = 1; char letters[9] = ""; double real = 1; struct thing thing = {1};' \
        '(void)number; (void)letters; (void)real; (void)thing; (void)map; (void)req; (void)value;' "$1" '}'
}

misuses() { # language, compiler command: each line of misuse.txt in that language
    line=0
    while IFS= read -r row; do
        line=$((line + 1))
        language=${row%%|*} rest=${row#*|}
        language=$(echo "$language" | tr -d ' ')
        case $language in
        ok) program "$rest" > "$scratch/code"
            compiles "headers::misuse:$line:$2" $2 $WARN -x "$1" -fsyntax-only "$scratch/code" ;;
        "$1") split "$rest"
            program "$code" > "$scratch/code"
            refused "headers::misuse:$line:$2" "$pattern" $2 $WARN -x "$1" -c -o /dev/null "$scratch/code" ;;
        esac
    done < tests/headers/misuse.txt
}

split() { # "code | pattern"; a | without blanks around it belongs to either
    code=${1%% | *}
    pattern=$(echo "${1#* | }" | sed 's/^ *//; s/ *$//')
}

run_caller() { # compiler
    name="headers::caller:$1"
    fits "$name" || return 0
    if ! $1 -std=c++17 $WARN -o "$scratch/caller" tests/headers/caller.cc -L"$BUILD" -lferry -Wl,-rpath,"$PWD/$BUILD" \
        > "$scratch/out" 2>&1; then fail "$name" "does not compile" "$scratch/out"
    elif "$scratch/caller" > "$scratch/out" 2>&1; then pass
    else fail "$name" "ended with $?" "$scratch/out"
    fi
}

# At least half of ferry.h is comment, in characters that are no blanks, and every line of both can be read without scrolling.
readable() {
    fits headers::readable || return 0
    awk '{ gsub(/[ \t]/, ""); text = text $0 }
        END {
            all = length(text)
            while ((at = index(text, "/*")) > 0) {
                text = substr(text, at)
                end = index(text, "*/") + 1
                comment += end
                text = substr(text, end + 1)
            }
            printf "%d of 100 characters are comment\n", 100 * comment / all
            exit 2 * comment < all
        }' include/ferry/ferry.h > "$scratch/out" && awk 'length > 160 { print FILENAME ":" FNR; bad = 1 } END { exit bad }' \
        include/ferry/*.h >> "$scratch/out" && pass || fail headers::readable "too little comment, or too long lines" "$scratch/out"
}

readable
for cc in gcc clang; do
    command -v $cc > /dev/null || { echo "headers: no $cc here"; continue; }
    for std in c11 c17 c2x; do
        for file in good layout; do
            compiles "headers::$file:$cc:$std" $cc -std=$std $WARN -fsyntax-only tests/headers/$file.c
        done
    done
    misuses c "$cc -std=c11"
done
for cxx in g++ clang++; do
    command -v $cxx > /dev/null || { echo "headers: no $cxx here"; continue; }
    for std in c++11 c++17 c++20; do
        compiles "headers::caller:$cxx:$std" $cxx -std=$std $WARN -Wold-style-cast -fsyntax-only tests/headers/caller.cc
        compiles "headers::layout:$cxx:$std" $cxx -std=$std $WARN -x c++ -fsyntax-only tests/headers/layout.c
    done
    misuses c++ "$cxx -std=c++17"
    run_caller $cxx
done
echo "$passed passed, $failed failed"
[ $((passed + failed)) -gt 0 ] || exit 3
[ $failed = 0 ]
