# The systemd unit: verified, scored, and started by a systemd of its own in namespaces of its own.

unit=deploy/systemd/featherwire.service

# The program that the unit names has to exist.
stage=$work/unit
rm -rf "$stage"
mkdir -p "$stage/usr/bin" "$stage/etc/systemd/system"
touch "$stage/usr/bin/featherwire" && chmod +x "$stage/usr/bin/featherwire"
cp "$unit" "$stage/etc/systemd/system/"
sed "s|/usr/bin/featherwire|$stage/usr/bin/featherwire|" "$unit" >"$stage/featherwire.service"
expect "systemd: the unit has no mistake" "(nothing said)" bash -c \
  'out=$(systemd-analyze verify "$1" 2>&1) && [[ -z $out ]] && echo "(nothing said)" || echo "$out"' - "$stage/featherwire.service"
# 20 of 100: systemd calls that OK. What is left is the network, which a gateway needs.
succeeds "systemd: the unit is hardened" systemd-analyze security --offline=yes --threshold=20 --no-pager "$unit"

# Where there are control groups of version 2: at the top, or beside those of version 1.
groups2=$(findmnt --noheadings --output TARGET --types cgroup2 | head -n 1)
if [[ $EUID -ne 0 || -z $groups2 ]]; then
  echo "# systemd: not started, because that needs root and control groups (version 2)"
  return 0
fi
needs_program

mkdir -p "$stage/etc/featherwire"
cp "$program" "$stage/usr/bin/featherwire"
echo "key-of-the-account" >"$stage/etc/featherwire/featherless-api-key"
chmod 0600 "$stage/etc/featherwire/featherless-api-key"
printf '%s\n' FEATHERLESS_BASE_URL=http://127.0.0.1:8001/v1 FEATHERWIRE_LISTEN=0.0.0.0:8000 \
  >"$stage/etc/featherwire/environment"
# There is no journal.
mkdir "$stage/etc/systemd/system/featherwire.service.d"
printf '[Service]\nStandardError=append:/run/featherwire.log\n' >"$stage/etc/systemd/system/featherwire.service.d/log.conf"
cat >"$stage/etc/systemd/system/key.service" <<'END'
[Service]
Type=oneshot
DynamicUser=yes
User=featherwire
StateDirectory=featherwire
Environment=FEATHERWIRE_DATA_DIR=/var/lib/featherwire
ExecStart=/usr/bin/featherwire keys create --name my-app
StandardOutput=append:/run/key
StandardError=append:/run/key
END
group=$groups2/featherwire-tests-$$
mkdir "$group"
bash -c 'echo $$ >"$1/cgroup.procs" && exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child \
  bash "$2" "$3" "$4"' - "$group" "$here/in_systemd" "$stage" "$work" 2>"$work/systemd.log" &
pids+=("$!")
until_true bash -c "pgrep -P $!"
supervisor=$(pgrep -P "$!")
inside=(nsenter --target "$supervisor" --mount --pid --uts --ipc --net --cgroup --root --wd env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin)
until_true bash -c '[[ $("$@" systemctl is-system-running) == running ]]' - "${inside[@]}" || cat "$work/systemd.log" >&2
"${inside[@]}" ip link set lo up
"${inside[@]}" featherwire emulator --listen 127.0.0.1:8001 >"$work/emulator.log" 2>&1 &
pids+=("$!")
until_true "${inside[@]}" curl -sS http://127.0.0.1:8001/

systemctl=("${inside[@]}" systemctl)
show=("${systemctl[@]}" show featherwire --value --property)
call=("${inside[@]}" curl -sS --max-time 20 http://127.0.0.1:8000/v1/chat/completions -H 'Content-Type: application/json'
  -H @/run/authorization -d '{"model": "meta-llama/Meta-Llama-3.1-8B-Instruct", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}')
# In the order of docs/deploy.md.
fails "systemd: without a key it does not start at an address that other machines reach" "failed" \
  "${systemctl[@]}" start featherwire
expect "systemd: and that is not tried again" "failed 0" \
  bash -c 'echo $("$@" ActiveState) $("$@" NRestarts)' - "${show[@]}"
expect "systemd: and the log says what to do" "featherwire keys create" "${inside[@]}" cat /run/featherwire.log
# A unit instead of systemd-run, which needs D-Bus.
succeeds "systemd: a command of the same user makes a key in the database" "${systemctl[@]}" start key
expect "systemd: and prints it" "gw_live_" "${inside[@]}" cat /run/key
"${inside[@]}" sh -c 'sed -n "s/^gw_live_/Authorization: Bearer &/p" /run/key >/run/authorization'
succeeds "systemd: the unit starts" "${systemctl[@]}" start featherwire
if [[ $("${show[@]}" ActiveState) != active ]]; then
  "${systemctl[@]}" status featherwire --no-pager >&2 || true
  "${inside[@]}" cat /run/featherwire.log >&2 || true
fi
expect "systemd: it is active when callers are served" "ready" "${inside[@]}" featherwire health
expect "systemd: its status says what it does" "serving on 0.0.0.0:8000" "${show[@]}" StatusText
expect "systemd: it answers a call with the key that systemd loaded" '"finish_reason"' "${call[@]}"
main=$("${show[@]}" MainPID)
expect "systemd: its user is a dynamic one without capabilities, and its system calls are filtered" "0000000000000000 1 2" \
  "${inside[@]}" awk '/^(CapEff|NoNewPrivs|Seccomp):/ {printf "%s ", $2}' "/proc/$main/status"
fails "systemd: it cannot read the file of the key" "denied" \
  "${inside[@]}" setpriv --reuid="$("${inside[@]}" stat -c %u "/proc/$main")" --clear-groups \
  cat /etc/featherwire/featherless-api-key
succeeds "systemd: the database is in its state directory" \
  "${inside[@]}" test -s /var/lib/private/featherwire/featherwire.db
succeeds "systemd: a command of the same user runs beside it" "${systemctl[@]}" start key
succeeds "systemd: a reload" "${systemctl[@]}" reload featherwire
expect "systemd: the same process serves after the reload" "$main" "${show[@]}" MainPID
expect "systemd: and answers calls" '"finish_reason"' "${call[@]}"
succeeds "systemd: the unit stops" "${systemctl[@]}" stop featherwire
expect "systemd: the drain has succeeded" "success" "${show[@]}" Result
# Certificates that a group may read, as docs/deploy.md says, and their renewal.
certificate() {
  "${inside[@]}" sh -ec 'cd /etc/featherwire && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" \
    -addext subjectAltName=IP:127.0.0.1 -keyout key.new -out certificate.new && chgrp ssl-cert key.new && chmod 0640 key.new &&
    mv key.new key.pem && mv certificate.new certificate.pem' - "$1" 2>/dev/null
}
"${inside[@]}" groupadd --force --system ssl-cert
"${inside[@]}" sh -c 'printf "[Service]\nSupplementaryGroups=ssl-cert\n" >/etc/systemd/system/featherwire.service.d/tls.conf
  printf "%s\n" FEATHERWIRE_TLS_CERT=/etc/featherwire/certificate.pem FEATHERWIRE_TLS_KEY=/etc/featherwire/key.pem \
    >>/etc/featherwire/environment'
certificate first
"${systemctl[@]}" daemon-reload
ask=("${inside[@]}" curl -sS --max-time 20 --cacert /etc/featherwire/certificate.pem https://127.0.0.1:8000/readyz)
succeeds "systemd: the unit starts with a private key of the group ssl-cert" "${systemctl[@]}" start featherwire
expect "systemd: and callers see its certificate" "ready" "${ask[@]}"
certificate second
fails "systemd: a renewed one is not in use yet" "certificate" "${ask[@]}"
succeeds "systemd: a reload with the renewed one" "${systemctl[@]}" reload featherwire
until_true "${ask[@]}" || true
expect "systemd: callers see the renewed one" "ready" "${ask[@]}"
succeeds "systemd: the unit with TLS stops" "${systemctl[@]}" stop featherwire
# Options that are wrong: no further try.
"${inside[@]}" sh -c 'echo FEATHERWIRE_WORKERS=none >>/etc/featherwire/environment'
fails "systemd: wrong options fail the start" "failed" "${systemctl[@]}" start featherwire
expect "systemd: and are not tried again" "failed" "${show[@]}" ActiveState
stop
pids=()
until_true bash -c 'find "$1" -depth -type d -exec rmdir {} + && [[ ! -e $1 ]]' - "$group" || true
