# shellcheck shell=bash
# Sourced by scripts/serve and scripts/test: `setup` brings the environment up to what the checkout
# pins. Quick when nothing changed: stamps hold the checksum of what was installed. A set-up that was
# cut off leaves none, and is then made anew. Each step says itself that it failed: `set -e` is off
# wherever a caller tests the outcome.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$root/.venv"
vendor="$root/signaling/web/vendor"

say() { printf '%s\n' "$*" >&2; }

# setup EXTRA [PROGRAM:PACKAGE]...: the Python environment with the dependencies of [EXTRA] too, the
# pages' libraries, and from Debian's PACKAGE each PROGRAM that is not there.
setup() {
  local extra=$1 packages
  shift
  packages=$(missing_packages "$@")
  if [ -z "$packages" ] && python_is_current "$extra" && pages_are_current; then return; fi
  (
    # One at a time. What we start inherits the lock, and so holds it when we are killed.
    if ! flock -n 9; then
      say "Waiting for another set-up of this checkout"
      flock 9
    fi
    python_is_current "$extra" || packages+=$(missing_for_python) || exit
    pages_are_current || packages+=$(missing_packages npm:npm)
    if [ -n "$packages" ]; then
      # shellcheck disable=SC2086  # one word a package
      apt_install $packages || exit
    fi
    python_is_current "$extra" || setup_python "$extra" || exit
    pages_are_current || setup_pages
  ) 9<"$root/scripts/setup.sh"
}

missing_packages() {
  local pair
  for pair in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || printf ' %s' "${pair##*:}"
  done
}

missing_for_python() {
  local python
  if ! python=$(find_python); then
    # No package helps who asks for an interpreter of their own.
    if [ -n "${VITRINE_PYTHON:-}" ]; then
      say "VITRINE_PYTHON is $VITRINE_PYTHON, and no Python 3.11 or newer."
      return 1
    fi
    printf ' python3 python3-venv'
  elif [[ $python == /usr/bin/* ]] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    printf ' %s-venv' "$(basename "$python")"
  fi
}

# apt_install PACKAGE...: when we may; otherwise says what to ask an administrator for.
apt_install() {
  local as_root=() log
  if ! command -v apt-get >/dev/null; then
    say "Missing programs; on Debian they come with: $*"
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "Missing Debian packages. Ask an administrator for: apt-get install $*"
      return 1
    fi
    as_root=(sudo -n)
  fi
  say "Installing Debian packages: $*"
  log=$(mktemp)
  # A broken source of someone else's is no reason to give up; a lock of Debian's own updates passes.
  if ! { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
    say "apt-get update failed; trying with the lists of before"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# The interpreter to make the environment from; never that of an environment, which may be ours.
find_python() {
  local candidate candidates=(python3 python3.13 python3.12 python3.11)
  if [ -n "${VITRINE_PYTHON:-}" ]; then candidates=("$VITRINE_PYTHON"); fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys
if sys.version_info < (3, 11): sys.exit(1)
print(sys._base_executable)' 2>/dev/null; then return; fi
  done
  return 1
}

# An environment belongs to its place and to the interpreter that it was made from.
identity_of() {
  printf '%s\n' "$root"
  "$1" -ISc 'import sys; print(sys.base_prefix, *sys.version_info[:2])' 2>/dev/null
}

checksum_of() { cat -- "$@" | sha256sum | cut -d' ' -f1; }

# is_stamped FILE TEXT, stamp FILE TEXT
is_stamped() { [ -f "$1" ] && [ "$(cat -- "$1")" = "$2" ]; }
stamp() { mkdir -p "$(dirname "$1")" && printf '%s\n' "$2" >"$1"; }

venv_is_ours() {
  local identity
  identity=$(identity_of "$venv/bin/python") || return 1
  is_stamped "$venv/stamps/made" "$identity" || return 1
  [ -z "${VITRINE_PYTHON:-}" ] || [ "$(identity_of "$VITRINE_PYTHON")" = "$identity" ]
}

python_is_current() {
  local pins
  pins=$(checksum_of "$root/pyproject.toml" "$root/constraints.txt")
  { is_stamped "$venv/stamps/python$1" "$pins" || is_stamped "$venv/stamps/pythontest" "$pins"; } &&
    venv_is_ours
}

# setup_python EXTRA: the virtual environment with the pinned dependencies, and those of [EXTRA].
setup_python() {
  local extra=$1 python pins requirements
  pins=$(checksum_of "$root/pyproject.toml" "$root/constraints.txt")
  if ! venv_is_ours || ! compgen -G "$venv/stamps/python*" >/dev/null; then
    if ! python=$(find_python); then
      say "Python 3.11 or newer is needed."
      return 1
    fi
    say "Making the Python environment in .venv"
    "$python" -m venv --clear "$venv" || return
    stamp "$venv/stamps/made" "$(identity_of "$venv/bin/python")" || return
  fi
  rm -f "$venv"/stamps/python* || return
  requirements=$("$venv/bin/python" -c '
import sys, tomllib
project = tomllib.load(open(sys.argv[1], "rb"))["project"]
extras = [each for name in sys.argv[2:] for each in project["optional-dependencies"][name]]
print(*project["dependencies"], *extras, sep="\n")' "$root/pyproject.toml" ${extra:+"$extra"}) || return
  say "Installing the pinned Python packages (a minute or two, once)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$root/constraints.txt" --requirement /dev/stdin <<<"$requirements" || return
  stamp "$venv/stamps/python$extra" "$pins"
}

pages_are_current() {
  [ -f "$vendor/hls.min.mjs" ] && is_stamped "$vendor/stamp.txt" "$(checksum_of "$root/package.json")"
}

# setup_pages: the browser's libraries, from the versions in package.json.
setup_pages() {
  local work
  say "Fetching the pages' libraries"
  work=$(mktemp -d) || return
  # shellcheck disable=SC2064  # the name of now
  trap "rm -rf '$work'" EXIT
  (cp "$root/package.json" "$work/" && cd "$work" && npm install --omit=dev --no-package-lock \
    --ignore-scripts --no-audit --no-fund --no-update-notifier --cache "$work/cache" \
    --loglevel=error >/dev/null) || return
  mkdir -p "$vendor" &&
    cp "$work/node_modules/hls.js/LICENSE" "$vendor/hls.LICENSE" &&
    cp "$work/node_modules/hls.js/dist/hls.min.mjs" "$vendor/hls.min.mjs.new" &&
    mv "$vendor/hls.min.mjs.new" "$vendor/hls.min.mjs" &&
    stamp "$vendor/stamp.txt" "$(checksum_of "$root/package.json")"
}
