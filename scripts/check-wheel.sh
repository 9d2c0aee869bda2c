#!/usr/bin/env bash
# Builds the wheel, installs it alone in a clean environment, and asks it a question from there;
# then it serves the graph of a project whose packages are called like Sluice's layers.
#
#     scripts/check-wheel.sh        BIN=.venv/bin by default: builds, and makes the environment
set -euo pipefail

cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
source scripts/serving.sh
pip() { "$work/venv/bin/python" -m pip --disable-pip-version-check --quiet --quiet "$@"; }

echo "Building the wheel …"
"$BIN/python" -m build --wheel --no-isolation --outdir "$work/dist" >"$work/build.log" 2>&1 ||
    fail "$(<"$work/build.log")"

echo "Installing it in a clean environment …"
"$BIN/python" -m venv "$work/venv"
pip install --no-deps --require-hashes --no-compile -r requirements.lock
pip install --no-deps "$work"/dist/sluice-*.whl
pip check

"$BIN/python" -m tests.live.layered_project "$work/project"
repository=$PWD
mkdir "$work/elsewhere"
cd "$work/elsewhere"
package() { "$work/venv/bin/python" -c "import $1; print(list($1.__path__)[0])"; }
[[ $(package sluice) == "$work/venv/"* ]] || fail "sluice is not the wheel's: $(package sluice)"
for layer in domain application infrastructure interfaces offline_model tests; do
    ! package "$layer" 2>/dev/null || fail "the wheel takes the name $layer"
done
inside=$(package sluice.infrastructure)/retrieval/docs
for document in "$repository"/docs/*.md; do
    cmp -s "$document" "$inside/${document##*/}" || fail "the wheel does not hold docs/${document##*/}"
done

serve "$work/venv/bin/sluice" serve
curl -sf -o "$work/page" "$base/" && grep -q '<title>' "$work/page" || fail "the page is not inside"
for part in $(<"$work/page" grep -oE '(src|href)="/[^"]+"' | cut -d'"' -f2); do
    curl -sf -o "$work/part" "$base$part" || fail "the page's $part is not inside"
done
curl -sf "$base/docs" >"$work/part" || fail "the OpenAPI page is not inside"

# The data of `done`, on standard output; the stream is in $work/stream.
ask() {
    local url
    url=$(curl -sf -H 'Content-Type: application/json' -d "{\"message\": \"$1\"}" "$base/api/v1/chat" |
        jq -r .stream_url)
    curl -sfN -m 60 "$base$url" >"$work/stream"
    grep -A2 '^event: done$' "$work/stream" | sed -n 's/^data: //p'
}

end=$(ask 'How do I resume a stream?') || fail "$(<"$work/stream")"
grep -q '^event: token$' "$work/stream" || fail "no token came"
jq -e '.offline_model == true' <<<"$end" >/dev/null || fail "the offline model is not inside: $end"
jq -e '.answer | test("Last-Event-ID|last_event_id")' <<<"$end" >/dev/null ||
    fail "the answer does not come from the documents: $end"
leave
[[ -z $(ls -A) ]] || fail "the service left files behind: $(ls -A)"

cd "$work/project"
serve "$work/venv/bin/sluice" serve --pipeline domain.graph:build
end=$(ask 'Are you there?') || fail "$(<"$work/stream")"
jq -e '.answer | startswith("Hello! ")' <<<"$end" >/dev/null || fail "not the project's graph: $end"
leave
"$work/venv/bin/python" - <<'PYTHON' || fail "the wheel does not hold what a project's tests use"
from importlib.metadata import entry_points

import sluice.testing

(plugin,) = entry_points(group="pytest11", name="sluice")
assert plugin.value == "sluice.pytest_plugin", plugin
PYTHON
echo "The wheel, installed alone, serves page, documents and offline model, and left properly"
