#!/usr/bin/env bash
# Asks a service on each path one question per intent, and compares the answers of both.
#
#     scripts/e2e.sh        BIN=.venv/bin by default
set -euo pipefail
set -m # a process group for each path, so that Ctrl-C leaves nothing of it

cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
answers=$(mktemp -d)
declare -A asking

stop() {
    local group
    for group in "${asking[@]}"; do kill -- "-$group" 2>/dev/null || true; done
    rm -rf "$answers"
}
trap stop EXIT
trap 'exit 130' INT TERM

# ask TRUE_OR_FALSE: a service of its own, at the pace at which the offline model speaks.
ask() (
    TMPDIR=$answers source scripts/serving.sh
    serve ENABLE_TOKEN_STREAMING="$1" "$BIN/sluice" serve
    scripts/e2e-intent-test.sh "$base" --all --digests "$answers/$1.tsv"
    leave
)

echo "Asking a service on each path, side by side; this takes a minute …"
for streaming in true false; do
    ask "$streaming" >"$answers/$streaming.log" 2>&1 &
    asking[$streaming]=$!
done
broken=0
for streaming in true false; do
    wait "${asking[$streaming]}" || broken=1
    unset "asking[$streaming]"
    echo "ENABLE_TOKEN_STREAMING=$streaming"
    cat "$answers/$streaming.log"
done
((broken == 0)) || exit 1

path() { cut -f2 "$answers/$1.tsv" | sort -u; }
digests() { cut -f1,3 "$answers/$1.tsv"; }
[[ $(path true) == A2 && $(path false) == A1 ]] || { echo "true is not A2, or false not A1" && exit 1; }
diff <(digests false) <(digests true) || { echo "the paths differ in the answers above" && exit 1; }
echo "$(wc -l <"$answers/true.tsv") answers are the same on both paths"
