# The image: what is in it, and the program in a root that has nothing else, as its user, without a network and without writing
# anywhere but in /data.

needs_program
image=$work/image
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

succeeds "image: its parts and its configuration" container-structure-test test --driver tar --image "$image/featherwire.tar" \
  --config "$here/image.yaml"
deploy/image/build --binary "$program" --out "$work/again" >&2
expect "image: the same program gives the same image" "(the same)" \
  bash -c 'cmp "$1/oci/index.json" "$2/oci/index.json" && echo "(the same)"' - "$image" "$work/again"
rm -rf "$work/again"
fails "image: a program that needs a loader is refused" "is not static" \
  deploy/image/build --binary "$(command -v umoci)" --out "$work/none"

if [[ $EUID -ne 0 ]]; then
  echo "# image: not started, because that needs root"
  return 0
fi

bundle=$work/bundle
rm -rf "$bundle"
umoci unpack --image "$image/oci:$version" "$bundle"
rootfs=$bundle/rootfs
owner=$(stat -c '%u:%g %a' "$rootfs/data")
expect "image: /data belongs to its user" "65532:65532 750" echo "$owner"

# The certificate of a host that is only in /etc/hosts, by an authority that is only in the bundle of this test.
pki() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=authority" -addext basicConstraints=critical,CA:true \
    -keyout "$work/authority.key" -out "$work/authority.pem"
  openssl req -newkey rsa:2048 -nodes -subj "/CN=upstream.test" -keyout "$work/upstream.key" -out "$work/upstream.csr"
  openssl x509 -req -in "$work/upstream.csr" -CA "$work/authority.pem" -CAkey "$work/authority.key" -CAcreateserial -days 2 \
    -extfile <(echo subjectAltName=DNS:upstream.test) -out "$work/upstream.pem"
}
pki 2>/dev/null
mkdir -p "$work/etc"
echo "127.0.0.1 localhost upstream.test" >"$work/etc/hosts"
cat "$rootfs/etc/ssl/certs/ca-certificates.crt" "$work/authority.pem" >"$work/etc/authorities"

# A network of its own with nothing but 127.0.0.1, in which the rest runs.
unshare --net bash -c 'ip link set lo up && exec sleep 600' &
network=$!
pids+=("$network")
until_true bash -c "nsenter --net --target $network ip address show lo | grep -q 127.0.0.1"

# An engine makes them.
mkdir -p "$rootfs"/{proc,dev}
touch "$rootfs/etc/hosts" "$rootfs"/dev/{null,random,urandom}
export NETWORK=$network HOSTS=$work/etc/hosts AUTHORITIES=$work/etc/authorities VARIABLES=
in_image=("$here/in_image" "$rootfs")
# running_in PID: the program that a process started, which is the last of its descendants.
running_in() {
  local pid=$1 child
  while child=$(pgrep -P "$pid"); do pid=$child; done
  echo "$pid"
}

expect "image: the program tells its revision" "$(git rev-parse --short=12 HEAD)" "${in_image[@]}" featherwire --version
fails "image: without a key for callers it does not listen for other machines" "FEATHERWIRE_API_KEYS" \
  "${in_image[@]}" featherwire serve --emulator
fails "image: its health check fails without a gateway" "no gateway" "${in_image[@]}" featherwire health

export VARIABLES="FEATHERWIRE_API_KEYS=gw_test_1"
"${in_image[@]}" featherwire serve --emulator --data-dir /data 2>"$work/gateway.log" &
gateway=$!
pids+=("$gateway")
until_true "${in_image[@]}" featherwire health || cat "$work/gateway.log" >&2
expect "image: its health check" "ready" "${in_image[@]}" featherwire health
expect "image: it answers a call" '"finish_reason"' nsenter --net --target "$network" \
  curl -sS --max-time 20 http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json' \
  -H 'Authorization: Bearer gw_test_1' -d '{"model": "meta-llama/Meta-Llama-3.1-8B-Instruct", "max_tokens": 5,
    "messages": [{"role": "user", "content": "Say hello"}]}'
gateway=$(running_in "$gateway")
expect "image: it runs as its user, with no capability" "65532 65532 0000000000000000" \
  awk '/^[UG]id:/ {printf "%s ", $2} /^CapEff:/ {print $2}' "/proc/$gateway/status"
expect "image: the database is on the volume" "65532:65532" stat -c %u:%g "$rootfs/data/featherwire.db"
expect "image: keys are made in it" "gw_live_" "${in_image[@]}" featherwire keys create --name second

# The upstream is found by /etc/hosts, and its certificate is held to the bundle.
"${in_image[@]}" featherwire emulator --listen 127.0.0.1:8001 >"$work/emulator.log" 2>&1 &
pids+=("$!")
export VARIABLES="FEATHERLESS_API_KEY=key FEATHERLESS_BASE_URL=http://upstream.test:8001/v1"
until_true "${in_image[@]}" featherwire check
expect "image: names of /etc/hosts are found" "Featherless answers" "${in_image[@]}" featherwire check
nsenter --net --target "$network" python3 "$here/tls_upstream.py" "$work/upstream.pem" "$work/upstream.key" 8443 \
  2>"$work/upstream.log" &
pids+=("$!")
export VARIABLES="FEATHERLESS_API_KEY=key FEATHERLESS_BASE_URL=https://upstream.test:8443/v1"
until_true bash -c "nsenter --net --target $network ss -ltn | grep -q :8443"
expect "image: certificates are held to its bundle of authorities" "Hello by TLS" "${in_image[@]}" featherwire check
export AUTHORITIES=
fails "image: another authority is refused" "certificate" "${in_image[@]}" featherwire check
unset VARIABLES AUTHORITIES HOSTS NETWORK

kill "$gateway"
until_true bash -c "! kill -0 $gateway" || true
expect "image: SIGTERM drains it" "draining" cat "$work/gateway.log"
stop
pids=()
