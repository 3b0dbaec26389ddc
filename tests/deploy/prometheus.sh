# Alerts, dashboard and /metrics: the rules and their tests by promtool, and each query against a Prometheus that scrapes a gateway
# under load.

folder=deploy/prometheus
succeeds "prometheus: the configuration is valid" promtool check config "$folder/prometheus.yml"
succeeds "prometheus: the rules are valid" promtool check rules "$folder/alerts.yaml"
succeeds "prometheus: each alert fires for its problem, and for nothing else" promtool test rules "$folder/tests.yaml"
suite prometheus python3 "$here/alert_facts.py"
suite runbook python3 "$here/log_facts.py"

needs_program
rm -rf "$work/load"
mkdir -p "$work/load"
suite prometheus python3 "$here/load_facts.py" "$program" "$work/load"
