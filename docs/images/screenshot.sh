#!/bin/sh
# Make docs/images/series.png again: docs/images/screenshot.sh [INGEST]
#
# It replays the sample archive into a store of its own, serves the pages from it and takes a
# picture with Chromium. It needs the extra `api` and Chromium.
set -eu
cd "$(dirname "$0")/../.."
ingest=${1:-.venv/bin/ingest}
folder=$(mktemp -d)
INGEST_DATABASE=sqlite:///$folder/store.db
export INGEST_DATABASE
unset INGEST_CONFIG
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT INT TERM

"$ingest" replay --quiet fixtures/sample.mbox
"$ingest" api --listen 127.0.0.1:8765 &
server=$!
until curl --silent --fail --output "$folder/index" http://127.0.0.1:8765/; do
    kill -0 "$server" # it has ended: the address is taken, or the extra is missing
    sleep 0.2
done
# The third series of the sample is the second version of `queue: let readers sleep`.
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,900 \
    --user-data-dir="$folder/chromium" --screenshot=docs/images/series.png http://127.0.0.1:8765/series/3/ 2>/dev/null
ls -l docs/images/series.png
