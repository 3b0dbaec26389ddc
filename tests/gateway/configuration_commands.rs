//! `featherwire config check` and `featherwire config print`.

use crate::configuration_file::{folder, line, with_file, write};

#[tokio::test]
async fn check_refuses_one_address_for_both_listeners_with_any_database() {
    let folder = folder("admin_listen = '127.0.0.1:8000'\n");
    for database in [
        "sqlite::memory:",
        "sqlite:own.db",
        "postgres://u@127.0.0.1:9/d",
    ] {
        let arguments = ["config", "check", "--database-url", database];
        let checked = with_file(&folder, &arguments, &[]).await;
        assert!(
            checked.code == Some(2) && checked.err.contains("are both 127.0.0.1:8000"),
            "{database}: {}",
            checked.err
        );
    }
    assert!(!folder.0.join("own.db").exists());
}

#[tokio::test]
async fn check_says_that_it_has_not_looked_for_keys_where_serve_needs_them() {
    const NOTE: &str = "not checked: the keys in the database";
    for (toml, code, is_told) in [
        ("", 0, false),
        ("listen = '0.0.0.0:8000'\n", 0, true),
        ("admin_listen = '0.0.0.0:9000'\n", 0, true),
        ("listen = '0.0.0.0:8000'\napi_keys = ['gw-1']\n", 0, false),
        // It has no keys at the start.
        (
            "listen = '0.0.0.0:8000'\ndatabase_url = 'sqlite::memory:'\n",
            2,
            false,
        ),
    ] {
        let folder = folder(toml);
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        assert_eq!(checked.code, Some(code), "{toml}: {}", checked.err);
        assert_eq!(
            checked.out.contains(NOTE),
            is_told,
            "{toml}: {}",
            checked.out
        );
    }
}

#[tokio::test]
async fn check_says_that_it_has_looked_only_at_the_form_of_the_url_of_redis() {
    const NOTE: &str = "not checked: whether the Redis at FEATHERWIRE_REDIS_URL (--redis-url)";
    for (toml, code, is_told) in [
        ("", 0, false),
        // Nothing listens there.
        ("redis_url = 'redis://:s3cr3t@127.0.0.1:1'\n", 0, true),
        ("redis_url = 'redis://:s3cr3t@127.0.0.1:port'\n", 2, false),
    ] {
        let folder = folder(toml);
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        let told = checked.out + &checked.err;
        assert_eq!(checked.code, Some(code), "{toml}: {told}");
        assert_eq!(told.contains(NOTE), is_told, "{toml}: {told}");
        assert!(!told.contains("s3cr3t"), "{toml}: {told}");
    }
}

#[tokio::test]
async fn a_size_that_no_machine_has_is_refused() {
    for (size, code) in [("1PiB", 0), ("1025TiB", 2), ("99999999999GiB", 2)] {
        let folder = folder(format!("max_request_bytes = '{size}'\n"));
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        assert_eq!(checked.code, Some(code), "{size}: {}", checked.err);
        assert_eq!(checked.err.contains("at most 1PiB"), code == 2);
    }
}

#[tokio::test]
async fn print_writes_the_value_of_a_variable_as_the_file_has_it() {
    let folder = folder("");
    let variables = [
        ("FEATHERWIRE_METRICS_KEY_LABEL", "1"),
        ("FEATHERWIRE_TRACE_UPSTREAM", "TRUE"),
        ("FEATHERWIRE_UNARY_VIA_STREAM", "yes"),
        ("FEATHERWIRE_RETRIES", "007"),
        ("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "+4e1"),
        ("FEATHERWIRE_EMULATOR", ""),
    ];
    let printed = with_file(&folder, &["config", "print"], &variables).await;
    for expected in [
        "metrics_key_label = true",
        "trace_upstream = true",
        "unary_via_stream = true",
        "retries = 7",
        "emulator_tokens_per_second = 40",
        "emulator = false",
    ] {
        let member = expected.split(' ').next().unwrap();
        assert!(line(&printed, member).starts_with(&format!("{expected}  # FEATHERWIRE_")));
    }
    write(&folder.0.join("fw.toml"), &printed.out);
    let again = with_file(&folder, &["config", "check"], &[]).await;
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
}
