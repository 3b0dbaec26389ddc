# Part of `run`: installs the tools of docs/recipes.md, each in its own environment since their dependencies clash, and
# runs the recipes as they stand in the documents.

recipes_tools=$work/recipes
recipes_area=$work/recipes_area
recipes_uv=0.13.9

install_recipes() {
  for tool in javac protoc grpc_java_plugin git; do
    command -v "$tool" >/dev/null || die "$tool is missing: docs/recipes.md names the packages for Java"
  done
  mkdir -p "$recipes_tools"
  # uv installs the largest of these in seconds, and pip in minutes.
  local uv=$recipes_tools/uv/bin/uv
  if ! "$uv" --version 2>/dev/null | grep -q "^uv $recipes_uv "; then
    python3 -m venv --clear "$recipes_tools/uv"
    "$recipes_tools/uv/bin/pip" install --quiet --disable-pip-version-check "uv==$recipes_uv"
  fi
  local file name
  for file in "$here/recipes"/*.txt; do
    name=$(basename "$file" .txt)
    cmp -s "$file" "$recipes_tools/$name.txt" && continue
    "$uv" venv --quiet --clear --python "$(command -v python3)" "$recipes_tools/$name"
    "$uv" pip install --quiet --python "$recipes_tools/$name/bin/python" -r "$file"
    cp "$file" "$recipes_tools/"
  done
  if ! cmp -s "$here/recipes/package.json" "$recipes_tools/node/installed.json"; then
    rm -rf "$recipes_tools/node"
    mkdir "$recipes_tools/node"
    cp "$here/recipes/package.json" "$recipes_tools/node/"
    (cd "$recipes_tools/node" && npm install --silent --no-audit --no-fund --no-package-lock --ignore-scripts)
    ln -s node_modules/.bin "$recipes_tools/node/bin"
    cp "$here/recipes/package.json" "$recipes_tools/node/installed.json"
  fi
}

check_recipes() {
  rm -rf "$recipes_area"
  mkdir -p "$recipes_area/home"
  ln -s "$recipes_tools/node/node_modules" "$recipes_area/node_modules"
  git -C "$recipes_area" init --quiet
  # No tool reads or writes the developer's settings. Some otherwise try for a minute to fetch tokenizers and prices.
  suite recipes env -u OPENAI_API_KEY -u OPENAI_API_BASE -u OPENAI_BASE_URL HOME="$recipes_area/home" \
    HF_HUB_OFFLINE=1 LITELLM_LOCAL_MODEL_COST_MAP=True \
    python "$here/documents.py" --recipes "$recipes_area" "$recipes_tools"
}
