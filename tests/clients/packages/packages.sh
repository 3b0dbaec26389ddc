# Part of `run`: builds the packages of clients/, installs them as a user does, and tests them.

packages_root=$root/clients
packages_tools=$work/packages
packages_area=$work/packages_area

# Brings what the packages need from PyPI and npm, and builds and installs them.
install_packages() {
  for tool in go protoc-gen-go openssl; do
    command -v "$tool" >/dev/null || die "$tool is missing: see clients/README.md"
  done
  "$packages_root/generate" --tools
  mkdir -p "$packages_tools"
  rm -rf "$packages_area"
  mkdir -p "$packages_area/gopath/src/featherwire.example"
  cp -r "$packages_root/python" "$packages_root/typescript" "$packages_area/"
  install_python_package
  install_node_package
  # Go has no modules here: its packages come from Debian, which knows only GOPATH.
  ln -s "$packages_root/go" "$packages_area/gopath/src/featherwire.example/go"
  ln -s "$here/packages/go" "$packages_area/gopath/src/checks"
}

install_python_package() {
  local venv=$packages_tools/venv
  if ! cmp -s "$here/packages/requirements.txt" "$packages_tools/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/packages/requirements.txt"
    cp "$here/packages/requirements.txt" "$packages_tools/"
  fi
  # The first time with its dependencies. pip does not replace a package of the same version.
  local install=("$venv/bin/pip" install --quiet --disable-pip-version-check)
  "${install[@]}" "$packages_area/python"
  "${install[@]}" --force-reinstall --no-deps "$packages_area/python"
}

install_node_package() {
  local install=(npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts)
  (
    cd "$packages_area/typescript"
    "${install[@]}"
    npm pack --silent
  )
  mkdir -p "$packages_area/node"
  (
    cd "$packages_area/node"
    echo '{"private": true, "type": "module"}' >package.json
    "${install[@]}" "$packages_area"/typescript/featherwire-*.tgz
    cp -r "$here/node" "$here/browser" "$packages_area/typescript/examples" .
    mkdir packages
    cp "$here/packages"/*.{ts,mjs,json} packages/
    # The compiler, its types of Node, and the browser's driver are not part of the package.
    for name in @types/node playwright-core undici-types; do
      mkdir -p "$(dirname "node_modules/$name")"
      [[ -e node_modules/$name ]] || ln -s "$tools/node_modules/$name" "node_modules/$name"
    done
  )
}

# The gateways: one with several pages of models, and one with TLS.
start_packages_gateways() {
  local serve=("$FEATHERWIRE_BIN" serve --emulator --tokens-per-second 1000 --circuit-failures 0)
  start packages env FEATHERWIRE_API_KEYS="$key" "${serve[@]}" --emulator-models 2500
  packages_url=$url
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=IP:127.0.0.1 \
    -keyout "$packages_area/key.pem" -out "$packages_area/cert.pem" 2>"$work/openssl.log"
  start packages_tls env FEATHERWIRE_API_KEYS="$key" "${serve[@]}" \
    --tls-cert "$packages_area/cert.pem" --tls-key "$packages_area/key.pem"
  packages_tls_url=$url
}

# example NAME TEXT COMMAND…: the output of an example contains this text.
example() {
  expect "packages: the example $1 prints \`$2\`" "$2" "${@:3}"
}

# In a subshell, so that its variables are only its own.
check_packages() (
  python=$packages_tools/venv/bin/python
  node=$packages_area/node
  export FEATHERWIRE_URL=$packages_url FEATHERWIRE_GATEWAY=$packages_url FEATHERWIRE_API_KEY=$key
  export FEATHERWIRE_TLS_URL=$packages_tls_url FEATHERWIRE_TLS_CA=$packages_area/cert.pem
  FEATHERWIRE_VERSION=$("$FEATHERWIRE_BIN" --version | cut -d' ' -f2)
  export FEATHERWIRE_VERSION
  export PYTHONPATH=$here/python
  export GO111MODULE=off GOFLAGS= GOPATH=$packages_area/gopath:/usr/share/gocode
  export GOCACHE=$packages_tools/gocache
  succeeds "packages: the generated code is that of the contract" "$packages_root/generate" --check
  suite packages/readmes python "$here/packages/readmes.py"
  # The addresses and the keys in the examples.
  find "$packages_area/python/examples" "$node/examples" -type f -print0 |
    xargs -0 sed -i "s|http://localhost:8000|$packages_url|; s|gw_live_1234|$key|"
  check_python_package
  check_node_package
  check_go_package
)

check_python_package() {
  suite packages/python_client "$python" "$here/packages/python_client.py"
  suite packages/python_asyncio "$python" "$here/packages/python_asyncio.py"
  succeeds "packages: mypy --strict accepts the Python package and its examples" \
    bash -c 'cd "$1" && "$2" -m mypy --python-version 3.10' - "$packages_area/python" "$python"
  local examples=$packages_area/python/examples
  example first_call.py "Hello" "$python" "$examples/first_call.py"
  example streaming.py " tokens" "$python" "$examples/streaming.py"
  example asynchronous.py "Hello" "$python" "$examples/asynchronous.py"
  example cancelling.py "what has come: " "$python" "$examples/cancelling.py"
  example errors.py "try again after 60.0 seconds" "$python" "$examples/errors.py"
  example models.py "1 vector" "$python" "$examples/models.py"
}

check_node_package() {
  local bundle=(esbuild --bundle --format=esm --log-level=warning)
  succeeds "packages: the TypeScript package's types fit its examples and checks" \
    tsc --project "$node/packages"
  for file in packages/node_client examples/{first_call,streaming,cancelling,errors,models}; do
    "${bundle[@]}" --platform=node --packages=external '--external:*.mjs' \
      "$node/$file.ts" --outfile="$node/$file.mjs"
  done
  "${bundle[@]}" "$node/packages/web_page.ts" --outfile="$node/packages/web_page.js"
  "${bundle[@]}" "$node/examples/browser.ts" --outfile="$node/examples/browser.js"
  suite packages/node_client node "$node/packages/node_client.mjs"
  suite packages/web_client node "$node/packages/web_client.mjs"
  example first_call.ts "Hello" node "$node/examples/first_call.mjs"
  example streaming.ts " tokens" node "$node/examples/streaming.mjs"
  example cancelling.ts "what has come: " node "$node/examples/cancelling.mjs"
  example errors.ts "try again after 60000 ms" node "$node/examples/errors.mjs"
  example models.ts "1 vector" node "$node/examples/models.mjs"
  example browser.ts "Hello" env EXPECTED=Hello \
    node "$node/browser/show.mjs" "$node/examples/browser.js"
}

check_go_package() {
  succeeds "packages: go vet accepts the Go package, its examples and checks" \
    go vet featherwire.example/go/... checks
  expect "packages: gofmt would change nothing" "[]" \
    bash -c 'found=$(gofmt -l "$1"/*.go "$1/examples" "$2") && echo "[$found]"' - \
    "$packages_root/go" "$here/packages/go"
  suite packages/go env PIECES="$here/packages/pieces.json" go run checks
  # Its sources are not copied, so the address is changed in a copy.
  sed "s|http://localhost:8000|$packages_url|; s|gw_live_1234|$key|" \
    "$packages_root/go/examples/first_call/main.go" >"$packages_area/first_call.go"
  example first_call.go "Hello" go run "$packages_area/first_call.go"
  example streaming.go " tokens" go run featherwire.example/go/examples/streaming
  example cancelling.go "what has come: " go run featherwire.example/go/examples/cancelling
  example errors.go "try again after 1m0s" go run featherwire.example/go/examples/errors
  example models.go "1 vector" go run featherwire.example/go/examples/models
}
