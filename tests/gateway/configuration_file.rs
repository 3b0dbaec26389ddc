//! The configuration file, and the commands that check and show the configuration.

use std::{fs, path::Path};

use crate::support::{
    certificates::Authority,
    program::{Ended, Folder, featherwire, run},
};

/// A folder with a configuration file.
pub fn folder(toml: impl AsRef<[u8]>) -> Folder {
    let folder = Folder::new();
    write(&folder.0.join("fw.toml"), toml);
    folder
}

/// Writes a file that only its owner may read.
pub fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Runs a command in the folder with its configuration file.
pub async fn with_file(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = featherwire(arguments);
    command
        .env_remove("FEATHERWIRE_DATABASE_URL")
        .env("XDG_DATA_HOME", &folder.0)
        .env("FEATHERWIRE_CONFIG", "fw.toml")
        .envs(variables.iter().copied())
        .current_dir(&folder.0);
    let ended = run(&mut command).await;
    for text in [&ended.out, &ended.err] {
        assert!(!text.contains("s3cr3t"), "{arguments:?}: {text}");
    }
    ended
}

/// The line of an option in `config print`.
pub fn line<'a>(printed: &'a Ended, member: &str) -> &'a str {
    let of_member = |line: &&str| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        line.split(' ').next() == Some(member)
    };
    let mut lines = printed.out.lines().filter(of_member);
    lines
        .next()
        .unwrap_or_else(|| panic!("{member}: {}{}", printed.out, printed.err))
}

#[tokio::test]
async fn a_flag_counts_before_a_variable_before_dotenv_before_the_file_before_the_default() {
    let folder = folder("retries = 1\nqueue_limit = 1\nfirst_token_timeout = \"1s\"\nunits = 1\n");
    let dotenv = "FEATHERWIRE_RETRIES=2\nFEATHERWIRE_QUEUE_LIMIT=2\nFEATHERWIRE_UNITS=2\n";
    fs::write(folder.0.join(".env"), dotenv).unwrap();
    let variables = [
        ("FEATHERWIRE_RETRIES", "3"),
        ("FEATHERWIRE_QUEUE_LIMIT", "3"),
    ];
    let printed = with_file(&folder, &["config", "print", "--retries", "4"], &variables).await;
    for (member, expected) in [
        ("retries", "retries = 4  # --retries"),
        ("queue_limit", "queue_limit = 3  # FEATHERWIRE_QUEUE_LIMIT"),
        ("units", "units = 2  # .env line 3"),
        (
            "first_token_timeout",
            "first_token_timeout = \"1s\"  # fw.toml line 3",
        ),
        ("idle_timeout", "idle_timeout = \"60s\"  # default"),
        ("workers", "# workers is not set"),
    ] {
        assert_eq!(line(&printed, member), expected);
    }
    let checked = with_file(&folder, &["config", "check", "--retries", "4"], &variables).await;
    let summary = "the configuration is valid; options set: 1 by a flag, 1 by a variable, 1 in \
                   .env, 1 in the configuration file, ";
    assert!(
        checked.code == Some(0) && checked.out.starts_with(summary),
        "{}{}",
        checked.out,
        checked.err
    );
    assert_eq!(checked.out.lines().count(), 1);

    // The flag names another file than the variable, and a file that is named may not be missing.
    write(&folder.0.join("other.toml"), "idle_timeout = \"5s\"\n");
    for arguments in [
        ["--config", "other.toml", "config", "print"],
        ["config", "print", "--config", "other.toml"],
        ["config", "--config", "other.toml", "print"],
    ] {
        let printed = with_file(&folder, &arguments, &[]).await;
        assert_eq!(
            line(&printed, "idle_timeout"),
            "idle_timeout = \"5s\"  # other.toml line 1"
        );
        assert_eq!(line(&printed, "retries"), "retries = 2  # .env line 1");
    }
    // An empty variable is as good as none.
    let unnamed = [("FEATHERWIRE_CONFIG", "")];
    let printed = with_file(&folder, &["config", "print"], &unnamed).await;
    assert_eq!(
        line(&printed, "first_token_timeout"),
        "first_token_timeout = \"5m\"  # default"
    );
    let missing = with_file(&folder, &["serve", "--config=none.toml"], &[]).await;
    assert!(
        missing.code == Some(1)
            && missing
                .err
                .contains("none.toml (--config, or FEATHERWIRE_CONFIG) does not exist"),
        "{}",
        missing.err
    );
}

/// A value for each option that has none by default.
fn example(member: &str) -> &'static str {
    match member {
        "admin_listen" => "\"127.0.0.1:9\"",
        "workers" | "units" => "3",
        "emulator_switches" => "[\"feed=ping\"]",
        "cors_origins" => "[\"https://a.example\", \"https://b.example\"]",
        "max_connection_age" => "\"5m\"",
        "max_inflight_request_bytes" => "\"64MiB\"",
        "fallbacks" => "[\"org/a=org/b,org/c\", \"org/d=org/e\"]",
        "aliases" => "[\"x=org/x\", \"y=org/y\"]",
        "expose_models" => "[\"org/*\", \"*/y\"]",
        "key_weights" => "[3, 1]",
        "database_url" => "\"sqlite:/tmp/a \\\"b\\\".db\"",
        "redis_url" => "\"redis://u:s3cr3t@h:1/2\"",
        "cluster_name" => "\"production\"",
        "data_dir" => "\"/tmp/d\"",
        "app_url" => "\"https://app.example\"",
        "log" => "\"warn,hyper=debug\"",
        "api_keys" => "[\"s3cr3t-1\", \"s3cr3t-2\"]",
        "featherless_api_key" => "\"fl-s3cr3t\"",
        "tls_cert" | "admin_tls_cert" => "\"tls.crt\"",
        "tls_key" | "admin_tls_key" => "\"tls.key\"",
        "tls_client_ca" | "admin_tls_client_ca" => "\"tls.crt\"",
        "tls_client_keys" => "[\"uri:spiffe://a/b=c\", \"cn:d=e\"]",
        "admin_tls_client_keys" => "[\"dns:a.example=b\"]",
        "otel_exporter_otlp_endpoint" => "\"http://localhost:4318\"",
        "otel_exporter_otlp_traces_endpoint" => "\"http://localhost:4318/v1/traces\"",
        "otel_exporter_otlp_traces_protocol" => "\"grpc\"",
        "otel_exporter_otlp_headers" | "otel_exporter_otlp_traces_headers" => "\"a=s3cr3t\"",
        "otel_exporter_otlp_traces_timeout" => "\"1s\"",
        "otel_traces_exporter" => "\"otlp\"",
        "otel_traces_sampler_arg" => "0.5",
        "otel_resource_attributes" => "\"a=b\"",
        _ => panic!("{member} has no example"),
    }
}

fn has_one_secret(member: &str) -> bool {
    matches!(member, "featherless_api_key" | "redis_url") || member.ends_with("_headers")
}

#[tokio::test]
async fn every_option_can_be_set_by_the_file_and_what_print_shows_is_such_a_file() {
    let folder = folder("");
    let defaults = with_file(&folder, &["config", "print"], &[]).await;
    let mut file = String::new();
    let mut members = Vec::new();
    for line in defaults.out.lines() {
        if let Some(member) = line
            .strip_prefix("# ")
            .and_then(|line| line.strip_suffix(" is not set"))
        {
            file.push_str(&format!("{member} = {}\n", example(member)));
            members.push(member);
        } else if let Some((set, "default")) = line.split_once("  # ") {
            file.push_str(&format!("{set}\n"));
            members.push(set.split(' ').next().unwrap());
        }
    }
    assert!(members.len() > 40, "{members:?}");
    let pair = Authority::new().server("gateway");
    write(&folder.0.join("tls.crt"), pair.cert);
    write(&folder.0.join("tls.key"), pair.key);
    write(&folder.0.join("fw.toml"), &file);
    let printed = with_file(&folder, &["config", "print"], &[]).await;
    assert_eq!((printed.code, printed.err.as_str()), (Some(0), ""));
    for (number, member) in (1..).zip(&members) {
        let written = file.lines().nth(number - 1).unwrap();
        let shown = line(&printed, member);
        let (value, source) = shown.split_once("  # ").unwrap();
        assert_eq!(source, format!("fw.toml line {number}"), "{shown}");
        match *member {
            "api_keys" => assert_eq!(value, "# api_keys has 2 hidden values"),
            member if has_one_secret(member) => {
                assert_eq!(value, format!("# {member} has 1 hidden value"));
            }
            _ => assert_eq!(value, written),
        }
    }

    write(&folder.0.join("again.toml"), &printed.out);
    let keys = [
        ("FEATHERWIRE_API_KEYS", "a,b"),
        ("FEATHERWIRE_CONFIG", "again.toml"),
    ];
    let again = with_file(&folder, &["config", "print"], &keys).await;
    for member in members {
        let value = |printed| {
            line(printed, member)
                .split("  # ")
                .next()
                .unwrap()
                .to_owned()
        };
        if !has_one_secret(member) {
            assert_eq!(value(&again), value(&printed));
        }
    }
}

#[tokio::test]
async fn models_and_aliases_with_names_like_options_are_no_misplaced_options() {
    for toml in [
        "[fallbacks]\n'org/retrys' = ['x']\nretrys = ['x', 'org/b']",
        "[aliases]\nretrys = 'org/a'\n[fallbacks]\nlisten1 = 'retrys'",
        "aliases = ['retrys=org/a']\nfallbacks = {listen1 = 'retrys'}",
        "fallbacks = ['idle_timeot=x']",
        // The option `retries` takes no list, so these are aliases that a variable has.
        "[fallbacks]\nretriever = ['small']",
        "[emulator_switches]\nmodels = 'null-entry'",
    ] {
        let checked = with_file(&folder(toml), &["config", "check"], &[]).await;
        assert_eq!(
            (checked.code, checked.err.as_str()),
            (Some(0), ""),
            "{toml}"
        );
    }
}

#[tokio::test]
async fn an_error_in_the_file_has_its_line_and_a_fix_but_not_the_value() {
    let file = |text: &str| text.as_bytes().to_vec();
    let cases: Vec<(Vec<u8>, i32, &str)> = vec![
        (
            file("\nlisen = 3"),
            1,
            "line 2: lisen is not an option: did you mean listen?",
        ),
        (
            file("first-token-timeout = '5m'"),
            1,
            "did you mean first_token_timeout?",
        ),
        (file("FEATHERWIRE_LISTEN = 'x'"), 1, "did you mean listen?"),
        (file("alias = ['a=b']"), 1, "did you mean aliases?"),
        (file("api_key_files = 'x'"), 1, "did you mean api_key_file?"),
        (
            file("s3cr3t = 3"),
            1,
            "line 1: this is not an option of Featherwire",
        ),
        (
            file("\n[upstream]\nretries = 3"),
            1,
            "line 2: this is a section",
        ),
        (
            file("[aliases]\na = 'b'\nlisten = 'x'"),
            1,
            "line 3: aliases is a table, and this is the option listen",
        ),
        (
            file("[fallbacks]\nretrys = 3"),
            1,
            "line 2: fallbacks is a table, and retrys in it is probably the option retries: write \
             options above all tables",
        ),
        (
            file("[fallbacks]\na = 'org/b'\n\nidle_timeot = '5m'"),
            1,
            "line 4: fallbacks is a table, and idle_timeot in it is probably the option \
             idle_timeout",
        ),
        (
            file("[aliases]\na = 'org/b'\napi_key_files = '/run/s3cr3t'"),
            1,
            "line 3: aliases is a table, and api_key_files in it is probably the option",
        ),
        (
            file("[fallbacks]\napi_keys_file = 'a/s3cr3t'"),
            1,
            "line 2: fallbacks is a table, and this is the option api_keys_file",
        ),
        (
            file("listen = 8000"),
            1,
            "line 1: listen is a whole number, but must be a string: write listen = \
             \"127.0.0.1:8000\"",
        ),
        (
            file("retries = '3'"),
            1,
            "must be a whole number without quotes: write retries = 3",
        ),
        (file("retries = 3.5"), 1, "retries is a number with a point"),
        (
            file("emulator = 's3cr3t'"),
            1,
            "emulator is a string, but must be true or false",
        ),
        (
            file("cors_origins = [\n'*',\n3]"),
            1,
            "line 3: cors_origins is a whole number, but must be a list",
        ),
        (file("cors_origins = {a = 1}"), 1, "cors_origins is a table"),
        (
            file("api_keys = ['s3cr3t,b']"),
            1,
            "has an element with a `,`",
        ),
        (file("aliases = {'a,b' = 'c'}"), 1, "a comma or a semicolon"),
        (
            file("fallbacks = {a = [1]}"),
            1,
            "neither a string nor a list of strings",
        ),
        (
            file("retries = 1\nretries = 2"),
            1,
            "line 2: this is not TOML (duplicate key)",
        ),
        (file("api_keys = 's3cr3t"), 1, "line 1: this is not TOML"),
        (file("s3cr3t"), 1, "line 1: this is not TOML"),
        (
            b"# one\napp_title = \"s3cr3t\xff\"".to_vec(),
            1,
            "line 2: the line is not UTF-8 text",
        ),
        (b"\xff\xfea\0".to_vec(), 1, "UTF-16"),
        (file("app_title = \"a\\u0000b\""), 1, "NUL"),
        (
            vec![b'#'; 1024 * 1024 + 1],
            1,
            "is larger than 1048576 bytes",
        ),
        (
            file("\nfirst_token_timeout = '5x'"),
            2,
            "the value of first_token_timeout (--first-token-timeout), set in fw.toml line 2, \
             is invalid",
        ),
        (
            file("listen = 's3cr3t'"),
            2,
            "for example: listen = \"127.0.0.1:8000\", or --listen 127.0.0.1:8000",
        ),
        (file("retries = 11"), 2, "not within 0 to 10"),
        (
            file("database_url = 's3cr3t'"),
            2,
            "the value of database_url (--database-url), set in fw.toml line 1",
        ),
        (file("aliases = ['a=b', 'b=c']"), 1, "is an alias too"),
        (file("api_keys = ['']"), 1, "an empty key"),
        (
            file("listen = '0.0.0.0:8000'\ndatabase_url = 'sqlite::memory:'"),
            2,
            "without gateway keys",
        ),
    ];
    for (toml, code, expected) in cases {
        let shown = String::from_utf8_lossy(&toml)
            .chars()
            .take(80)
            .collect::<String>();
        let folder = folder(toml);
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        assert_eq!(
            (checked.code, checked.out.as_str()),
            (Some(code), ""),
            "{shown}: {}",
            checked.err
        );
        assert!(checked.err.contains(expected), "{shown}: {}", checked.err);
        assert!(
            checked.err.contains("fw.toml") || checked.err.contains("FEATHERWIRE_"),
            "{shown}"
        );
    }
    let bom = folder(b"\xef\xbb\xbfretries = 1\n");
    let printed = with_file(&bom, &["config", "print"], &[]).await;
    assert_eq!(line(&printed, "retries"), "retries = 1  # fw.toml line 1");
    assert!(
        printed
            .err
            .contains("warning: fw.toml line 1: the file begins with a byte order mark"),
        "{}",
        printed.err
    );

    let directory = Folder::new();
    fs::create_dir(directory.0.join("fw.toml")).unwrap();
    let checked = with_file(&directory, &["config", "check"], &[]).await;
    assert!(
        checked.code == Some(1) && checked.err.contains("is a directory"),
        "{}",
        checked.err
    );
}

#[tokio::test]
async fn a_list_and_a_table_of_the_file_are_what_the_flag_takes() {
    for toml in [
        "fallbacks = ['org/a=org/b,org/c']\naliases = ['x=org/a', 'y=org/b']\nkey_weights = \
         [2]\napi_keys = ['k']",
        "fallbacks = 'org/a=org/b,org/c'\naliases = 'x=org/a,y=org/b'\nkey_weights = \
         2\napi_keys = 'k'",
        "key_weights = '2'\napi_keys = 'k'\n[fallbacks]\n'org/a' = ['org/b', \
         'org/c']\n[aliases]\nx = 'org/a'\ny = 'org/b'",
    ] {
        let printed = with_file(&folder(toml), &["config", "print"], &[]).await;
        assert!(
            line(&printed, "fallbacks").starts_with("fallbacks = [\"org/a=org/b,org/c\"]"),
            "{toml}"
        );
        let aliases = line(&printed, "aliases").replace("\", \"", ",");
        assert!(
            aliases.starts_with("aliases = [\"x=org/a,y=org/b\"]"),
            "{aliases}"
        );
        assert!(
            line(&printed, "key_weights").starts_with("key_weights = [2]"),
            "{toml}"
        );
    }
}

#[tokio::test]
async fn commands_find_the_database_of_the_file_and_ignore_the_options_of_serve() {
    let folder = folder("retries = 1\ndatabase_url = 'sqlite:own.db'\nlog = 'off'\n");
    let created = with_file(&folder, &["keys", "create", "--name", "one"], &[]).await;
    assert_eq!(created.code, Some(0), "{}", created.err);
    assert!(folder.0.join("own.db").exists());
    let shown = with_file(&folder, &["keys", "--log", "warn", "list"], &[]).await;
    assert!(
        shown.code == Some(0) && shown.out.contains("one"),
        "{}{}",
        shown.out,
        shown.err
    );
    // A wrong value for an option that the command does not have is not its concern.
    write(
        &folder.0.join("fw.toml"),
        "retries = 99\ndatabase_url = 'sqlite:own.db'\n",
    );
    assert_eq!(
        with_file(&folder, &["keys", "list"], &[]).await.code,
        Some(0)
    );
    assert_eq!(with_file(&folder, &["serve"], &[]).await.code, Some(2));
}

/// The options in a file, also those that are commented out.
fn with_all(example: &str) -> String {
    let uncommented = example.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.contains(" = ") && !rest.starts_with(' ') => rest,
        _ => line,
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_example_file_is_valid_and_so_is_each_option_in_it_that_is_commented_out() {
    let example = include_str!("../../deploy/featherwire.toml");
    let checked = with_file(&folder(example), &["config", "check"], &[]).await;
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
    let all = with_all(example);
    assert!(all.matches("_file = ").count() >= 3 && all.lines().count() > 40);
    let folder = folder(all.replace("/run/secrets/", ""));
    write(&folder.0.join("gateway-keys"), "a\nb\n");
    write(&folder.0.join("featherless-api-key"), "fl-1\n");
    write(&folder.0.join("database-url"), "postgres://u:s3cr3t@h/d\n");
    let checked = with_file(&folder, &["config", "check"], &[]).await;
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));
}
