# shellcheck shell=bash
# Sourced by scripts/serve and scripts/test: brings the environment up to what the checkout pins.
# Quick when nothing changed: a stamp holds the checksum of what was installed.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv="$root/.venv"
vendor="$root/signaling/web/vendor"

say() { printf '%s\n' "$*" >&2; }

# apt_install PACKAGE...: Debian packages, when we may; otherwise says what to ask an administrator for.
apt_install() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
      as_root=(sudo -n)
    else
      say "Missing Debian packages: $*. Install them with: apt-get install $*"
      return 1
    fi
  fi
  if ! command -v apt-get >/dev/null; then
    say "Missing programs; on Debian they come with: $*"
    return 1
  fi
  say "Installing Debian packages: $*"
  local log
  log=$(mktemp)
  if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
    >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

find_python() {
  local candidate
  for candidate in ${VITRINE_PYTHON:-} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# A stamp is the checksum of the files that say what to install.
stamp_of() { cat "$@" | sha256sum | cut -d' ' -f1; }
is_current() { [ -f "$venv/stamps/$1" ] && [ "$(cat "$venv/stamps/$1")" = "$2" ]; }
mark_current() { mkdir -p "$venv/stamps" && printf '%s\n' "$2" >"$venv/stamps/$1"; }

# setup_python EXTRA: the virtual environment with the pinned dependencies, and those of [EXTRA].
setup_python() {
  local extra=$1 stamp python
  stamp=$(stamp_of "$root/pyproject.toml" "$root/constraints.txt")
  if is_current "python$extra" "$stamp" || is_current pythontest "$stamp"; then return; fi
  if ! python=$(find_python); then
    apt_install python3 python3-venv
    python=$(find_python) || { say "Python 3.11 or newer is needed."; return 1; }
  fi
  if [ ! -x "$venv/bin/pip" ]; then
    say "Making the Python environment in .venv"
    "$python" -m venv "$venv" 2>/dev/null || {
      apt_install python3-venv
      rm -rf "$venv"
      "$python" -m venv "$venv"
    }
  fi
  say "Installing the pinned Python packages (a minute or two, once)"
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    --constraint "$root/constraints.txt" --editable "$root${extra:+[$extra]}"
  mark_current "python$extra" "$stamp"
}

# setup_pages: the browser's libraries, from the versions in package.json.
setup_pages() {
  local stamp work
  stamp=$(stamp_of "$root/package.json")
  if [ -f "$vendor/hls.min.mjs" ] && is_current pages "$stamp"; then return; fi
  command -v npm >/dev/null || apt_install nodejs npm
  say "Fetching the pages' libraries"
  work=$(mktemp -d)
  cp "$root/package.json" "$work/"
  if ! (cd "$work" && npm install --omit=dev --no-package-lock --ignore-scripts --no-audit --no-fund \
    --loglevel=error >&2); then
    rm -rf "$work"
    return 1
  fi
  mkdir -p "$vendor"
  cp "$work/node_modules/hls.js/LICENSE" "$vendor/hls.LICENSE"
  cp "$work/node_modules/hls.js/dist/hls.min.mjs" "$vendor/hls.min.mjs.new"
  mv "$vendor/hls.min.mjs.new" "$vendor/hls.min.mjs"
  rm -rf "$work"
  mark_current pages "$stamp"
}
