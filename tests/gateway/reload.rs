//! SIGHUP: the configuration is read again, and taken over as a whole or not at all.

use std::fs;

use serde_json::json;
use tokio::process::{Child, Command};

use crate::{
    configuration_file::{folder, write},
    support::{
        MODEL, PATIENCE, Reply, Scripted,
        models::{FIRST, SECOND},
        program::{Folder, Log, featherwire, line_with, started},
        prompt,
        rest::{Events, http, status_and_json, with_json},
        scripted::{Then, chunk, chunked, no_capacity, whole},
    },
};

/// A gateway with a configuration file.
struct Gateway {
    child: Child,
    address: String,
    log: Log,
    folder: Folder,
    upstream: Scripted,
    /// What the log has said.
    told: String,
}

impl Gateway {
    /// Starts with these options in the file, and with those that every test needs.
    async fn start(toml: &str, variables: &[(&str, &str)]) -> Self {
        let upstream = Scripted::always(Reply::Json(200, whole("b"))).await;
        let folder = folder(with_common(toml));
        write(&folder.0.join("keys"), "gw_s3cr3t_old\n");
        let mut command = featherwire(&["serve", "--config", "fw.toml"]);
        command
            .env(
                "FEATHERLESS_BASE_URL",
                format!("http://{}/v1", upstream.address),
            )
            .env("FEATHERLESS_API_KEY", "fl-s3cr3t")
            .envs(variables.iter().copied())
            .current_dir(&folder.0);
        let (child, address, log) = started(command).await;
        Self {
            child,
            address,
            log,
            folder,
            upstream,
            told: String::new(),
        }
    }

    fn write(&self, toml: &str) {
        write(&self.folder.0.join("fw.toml"), with_common(toml));
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.await.unwrap().success());
    }

    /// Sends SIGHUP, and returns what the log says of it until `last`.
    async fn reload(&mut self, last: &str) -> String {
        self.signal("-HUP").await;
        let mut told = String::new();
        let reading = async {
            while !told.contains(last) {
                let line = self.log.recv().await.expect("the gateway runs");
                if line.contains("SIGHUP") {
                    told.push_str(&line);
                    told.push('\n');
                }
                self.told.push_str(&line);
                self.told.push('\n');
            }
        };
        let is_told = tokio::time::timeout(PATIENCE, reading).await.is_ok();
        assert!(is_told, "the log does not say {last:?}: {}", self.told);
        told
    }

    /// The address of the administration, which the log has told.
    fn administration(&self) -> &str {
        let (_, rest) = self.told.split_once("administration: ").unwrap();
        rest.split_whitespace().next().unwrap()
    }

    fn ask(&self, key: &str, model: &str, is_stream: bool) -> reqwest::RequestBuilder {
        let mut request = prompt(model, "hi");
        request["stream"] = json!(is_stream);
        let url = format!("{}/v1/chat/completions", self.address);
        with_json(http().post(url).bearer_auth(key), request.to_string())
    }

    /// The status of a call with this key.
    async fn status(&self, key: &str) -> u16 {
        self.ask(key, MODEL, false)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// Ends the gateway, and checks that its log has no secret.
    async fn end(mut self) {
        self.signal("-TERM").await;
        assert_eq!(self.child.wait().await.unwrap().code(), Some(0));
        while let Some(line) = self.log.recv().await {
            self.told.push_str(&line);
        }
        assert!(!self.told.contains("s3cr3t"), "{}", self.told);
    }
}

fn with_common(toml: &str) -> String {
    format!("listen = '127.0.0.1:0'\nunits = 0\nretries = 0\napi_keys_file = 'keys'\n{toml}")
}

/// A stream that goes on until the caller leaves.
fn endless() -> Reply {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: \
                chunked\r\n\r\n";
    let event = chunked(&format!("data: {}\n\n", chunk("b")));
    Reply::Wire(head.as_bytes().to_vec(), Then::Repeat(event.into_bytes()))
}

#[tokio::test]
async fn a_new_key_is_let_in_and_the_old_one_ends_while_its_stream_goes_on() {
    let mut gateway = Gateway::start("", &[]).await;
    gateway.upstream.set_reply(endless());
    let mut stream = Events::of(gateway.ask("gw_s3cr3t_old", MODEL, true)).await;
    stream.next().await.unwrap();
    gateway.upstream.set_reply(Reply::Json(200, whole("b")));
    assert_eq!(gateway.status("gw_s3cr3t_new").await, 401);

    write(&gateway.folder.0.join("keys"), "gw_s3cr3t_new\n");
    let told = gateway.reload("read again").await;
    assert!(
        told.contains("INFO") && told.contains("changed=api_keys"),
        "{told}"
    );
    assert_eq!(gateway.status("gw_s3cr3t_new").await, 200);
    assert_eq!(gateway.status("gw_s3cr3t_old").await, 401);
    // Far more than the gateway had received before the signal.
    for _ in 0..2_000 {
        stream.next().await.expect("the stream goes on");
    }
    drop(stream);

    let told = gateway.reload("no option changes").await;
    assert_eq!(told.lines().count(), 1, "{told}");
    gateway.end().await;
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_the_log_says_what_is_wrong() {
    let own_listener = [("FEATHERWIRE_ADMIN_LISTEN", "127.0.0.1:0")];
    let mut gateway = Gateway::start("", &own_listener).await;
    gateway.upstream.set_reply(endless());
    let mut stream = Events::of(gateway.ask("gw_s3cr3t_old", MODEL, true)).await;
    stream.next().await.unwrap();
    gateway.upstream.set_reply(Reply::Json(200, whole("b")));
    let cases = [
        (
            "retrys = 3",
            "fw.toml line 5: retrys is not an option: did you mean retries?",
        ),
        (
            "idle_timeout = '5x'",
            "idle_timeout (--idle-timeout), set in fw.toml line 5",
        ),
        ("app_title = 's3cr3t", "fw.toml line 5: this is not TOML"),
        (
            "key_weights = [1, 2, 3]",
            "3 weights for the 1 gateway keys",
        ),
        ("aliases = ['a=a']", "an alias of itself"),
        // The gateway could not start with these.
        ("tls_cert = '/none'\ntls_key = '/none'", "/none"),
        ("featherless_api_key_file = 'none'", "nothing changes"),
    ];
    for (toml, expected) in cases {
        // Valid changes beside it.
        write(&gateway.folder.0.join("keys"), "gw_s3cr3t_new\n");
        gateway.write(toml);
        if toml.starts_with("featherless") {
            write(&gateway.folder.0.join("keys"), " ");
        }
        let told = gateway.reload("nothing changes").await;
        assert!(
            told.contains("ERROR") && told.contains(expected),
            "{toml}: {told}"
        );
        assert_eq!(gateway.status("gw_s3cr3t_old").await, 200, "{toml}");
        assert_eq!(gateway.status("gw_s3cr3t_new").await, 401, "{toml}");
    }
    fs::remove_file(gateway.folder.0.join("fw.toml")).unwrap();
    gateway.reload("does not exist").await;
    stream.next().await.expect("the stream goes on");
    drop(stream);

    let metrics = format!("{}/metrics", gateway.administration());
    let metrics = http().get(metrics).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for expected in ["failure\"} 8", "success\"} 0"] {
        let line = format!("featherwire_config_reloads_total{{result=\"{expected}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    let reloaded_at = "\nfeatherwire_config_last_reload_timestamp_seconds ";
    assert!(!metrics.contains(reloaded_at), "{metrics}");

    gateway.write("[aliases]\nown = 'org/first'\n");
    write(&gateway.folder.0.join("keys"), "gw_s3cr3t_new\n");
    let told = gateway.reload("read again").await;
    assert!(told.contains("aliases, api_keys"), "{told}");
    let metrics = format!("{}/metrics", gateway.administration());
    let metrics = http().get(metrics).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains(reloaded_at), "{metrics}");
    gateway.end().await;
}

#[tokio::test]
async fn options_of_calls_change_and_an_option_that_needs_a_restart_is_named_and_stays() {
    let mut gateway = Gateway::start("", &[("FEATHERWIRE_IDLE_TIMEOUT", "9s")]).await;
    gateway.write(
        "first_token_timeout = '200ms'\nidle_timeout = '1s'\nlog = 'warn'\nqueue_limit = 7\n\
         cors_origins = ['https://a.example']\nunary_via_stream = false\n\
         [aliases]\nown = 'org/first'\n[fallbacks]\nown = ['org/second']\n",
    );
    let told = gateway.reload("read again").await;
    let at_restart = told.lines().find(|line| line.contains("restart")).unwrap();
    assert!(
        at_restart.contains("WARN") && at_restart.contains("options=queue_limit"),
        "{told}"
    );
    // The environment counts before the file, and has not changed.
    let changed = "changed=\"aliases, cors_origins, fallbacks, first_token_timeout, log\"";
    assert!(told.contains(changed), "{told}");

    let told_before = gateway.told.len();
    gateway
        .upstream
        .set_reply_for_model(Some((FIRST, no_capacity())));
    let answer = gateway
        .ask("gw_s3cr3t_old", "own", false)
        .send()
        .await
        .unwrap();
    assert_eq!(status_and_json(answer).await.0, 200);
    assert_eq!(gateway.upstream.models(), [FIRST, SECOND]);

    gateway.upstream.set_reply_for_model(None);
    gateway.upstream.set_reply(Reply::Silence);
    let asking = gateway.ask("gw_s3cr3t_old", MODEL, false).send();
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    let answer = answer
        .expect("not after the 5 minutes of the start")
        .unwrap();
    let (status, error) = status_and_json(answer).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (504, &json!("first_token_timeout"))
    );

    for (origin, is_allowed) in [("https://a.example", true), ("https://b.example", false)] {
        let url = format!("{}/v1/chat/completions", gateway.address);
        let preflight = http()
            .request(reqwest::Method::OPTIONS, url)
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let headers = preflight.send().await.unwrap().headers().clone();
        let allowed = headers.get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), is_allowed, "{origin}");
    }

    // The level `warn` has no lines of calls, and the next signal is not told at `info`.
    gateway.write("queue_limit = 8\n");
    let told = gateway.reload("read again").await;
    assert!(
        told.contains("options=queue_limit") && told.contains("log"),
        "{told}"
    );
    let told_since = gateway.told.get(told_before..).unwrap();
    let of_calls = told_since.split("SIGHUP").next().unwrap();
    assert!(!of_calls.contains(" INFO "), "{of_calls}");
    // Back to what it was at the start.
    gateway.write("");
    gateway.reload("no option changes").await;
    gateway.end().await;
}

#[tokio::test]
async fn the_waits_between_words_the_way_of_unary_calls_and_the_form_of_the_log_change() {
    let mut gateway = Gateway::start("", &[]).await;
    assert_eq!(gateway.status("gw_s3cr3t_old").await, 200);
    gateway.write(
        "idle_timeout = '200ms'\nunary_via_stream = true\nlog_format = 'json'\n\
         expose_models = ['org/*']\nfallback_first_token_timeout = '7s'\nkey_weights = [3]\n",
    );
    let told = gateway.reload("read again").await;
    let changed = "changed=\"expose_models, fallback_first_token_timeout, idle_timeout, \
                   key_weights, log_format, unary_via_stream\"";
    assert!(
        told.contains(changed) && !told.contains("restart"),
        "{told}"
    );

    let stalled = Reply::EventsThenSilence(vec![chunk("b")]);
    gateway.upstream.set_reply(stalled);
    let asking = gateway.ask("gw_s3cr3t_old", MODEL, false).send();
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    let (status, error) = status_and_json(answer.expect("not after a minute").unwrap()).await;
    let code = &error["error"]["code"];
    assert_eq!((status, code), (504, &json!("stream_stalled")));
    let requests = gateway.upstream.requests();
    assert_eq!(requests.last().unwrap().json()["stream"], true);
    let is_stall =
        |line: &str| line.contains("stream_stalled") && line.contains("\"message\":\"call\"");
    let line = line_with(&mut gateway.log, is_stall).await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["code"], "stream_stalled");
    gateway.end().await;
}

#[test]
fn the_manual_names_the_options_that_change_at_once_and_no_others() {
    let manual = include_str!("../../docs/configuration.md");
    let (_, table) = manual.split_once("| changes at once | for |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let first_cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let mut named: Vec<_> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    named.sort_unstable();
    assert_eq!(named, featherwire::config::LIVE);
}

#[tokio::test]
async fn a_signal_during_the_start_does_not_end_the_gateway() {
    let database = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u:p@{}/d", database.local_addr().unwrap());
    let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("FEATHERWIRE_DATABASE_URL", url)
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    // The gateway waits for the answer of the database.
    let accepted = tokio::time::timeout(PATIENCE, database.accept()).await;
    let (connection, _) = accepted.expect("the gateway starts").unwrap();
    let pid = child.id().unwrap().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status();
    assert!(sent.await.unwrap().success());
    drop((connection, database));
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let ended = ended.expect("the start fails without a database").unwrap();
    let told = String::from_utf8(ended.stderr).unwrap();
    // A process that a signal ends has no code.
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains("database"), "{told}");
}

#[tokio::test]
async fn dotenv_and_the_timeout_of_the_drain_are_read_again_with_warnings() {
    let mut gateway = Gateway::start("drain_timeout = '1h'\n", &[]).await;
    fs::write(
        gateway.folder.0.join(".env"),
        "FEATHERWIRE_DRAIN_TIMEOUT=100ms\nFEATHERWIRE_API_KEYS=gw_s3cr3t_env\n",
    )
    .unwrap();
    let told = gateway.reload("read again").await;
    assert!(
        told.contains("changed=\"api_keys, drain_timeout\""),
        "{told}"
    );
    assert_eq!(gateway.status("gw_s3cr3t_env").await, 200);
    let misspelt =
        fs::read_to_string(gateway.folder.0.join(".env")).unwrap() + "FEATHERWIRE_LISTN=s3cr3t\n";
    fs::write(gateway.folder.0.join(".env"), misspelt).unwrap();
    let told_before = gateway.told.len();
    gateway.reload("no option changes").await;
    let told = gateway.told.get(told_before..).unwrap();
    let expected = ".env line 3: FEATHERWIRE_LISTN is not a variable of Featherwire and has no effect: did \
                    you mean FEATHERWIRE_LISTEN?";
    assert!(told.contains("WARN") && told.contains(expected), "{told}");
    assert!(!told.contains("s3cr3t"), "{told}");
    gateway.upstream.set_reply(endless());
    let mut stream = Events::of(gateway.ask("gw_s3cr3t_env", MODEL, true)).await;
    stream.next().await.unwrap();
    gateway.signal("-TERM").await;
    let ended = tokio::time::timeout(PATIENCE, async {
        while stream
            .next()
            .await
            .is_some_and(|event| event["error"].is_null())
        {}
        gateway.child.wait().await.unwrap().code()
    });
    assert_eq!(
        ended.await.ok(),
        Some(Some(1)),
        "the call was cut after 100 ms"
    );
}

#[tokio::test]
async fn a_change_of_accounts_needs_a_restart_and_a_wrong_one_changes_nothing() {
    let mut gateway = Gateway::start("", &[("FEATHERLESS_API_KEY", "")]).await;
    gateway.write("[[account]]\nname = 'Not A Word'\n");
    let told = gateway.reload("nothing changes").await;
    assert!(told.contains("name must be 1 to 32"), "{told}");
    let without_units = |toml: &str| {
        let common = with_common("").replace("units = 0\n", "");
        write(&gateway.folder.0.join("fw.toml"), format!("{common}{toml}"));
    };
    without_units("[[account]]\nname = 'a'\nfeatherless_api_key = 's3cr3t'\n");
    let told = gateway.reload("read again").await;
    assert!(told.contains("options=\"account, units\""), "{told}");
    gateway.write("");
    gateway.reload("no option changes").await;
    gateway.end().await;
}
