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
