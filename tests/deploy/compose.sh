# compose.yaml: there is no engine in CI, so it is held to the specification and not started.
suite compose python3 "$here/compose_facts.py"
