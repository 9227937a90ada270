#!/usr/bin/env bash
# Makes a picture of the top of an HTML file with Chromium, e.g. docs/images/report.png of a report of adit-bench:
#   scripts/screenshot.sh report.html docs/images/report.png [WIDTH HEIGHT [light|dark]]
# Chromium is Debian's package of that name. The browser gets a profile of its own and no network.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0"; exit 2; }
page=$(realpath "$1") picture=$(realpath -m "$2") width=${3:-1360} height=${4:-1700} theme=${5:-light}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) ||
    { echo "screenshot: no Chromium; apt-get install chromium"; exit 1; }
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
mkdir -p "$(dirname "$picture")"
options=(--headless --disable-gpu --hide-scrollbars --no-first-run --user-data-dir="$profile" --window-size="$width,$height"
    --force-device-scale-factor=1 --host-resolver-rules='MAP * ~NOTFOUND' --virtual-time-budget=2000)
[ "$theme" = light ] || options+=(--blink-settings=preferredColorScheme=0)
# Chromium's sandbox needs a user that is not root; the page is our own.
[ "$(id -u)" != 0 ] || options+=(--no-sandbox)
"$browser" "${options[@]}" --screenshot="$picture" "file://$page" 2>"$profile/log" ||
    { cat "$profile/log"; exit 1; }
[ -s "$picture" ] || { cat "$profile/log"; exit 1; }
echo "$picture"
