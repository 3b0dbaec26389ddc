//! The files of secrets, which a variable or the configuration file names.

use std::fs;

use crate::configuration_file::{folder, line, with_file, write};

const SECRET: &str = "gw_live_very_s3cr3t";

#[tokio::test]
async fn a_secret_is_read_from_a_file_that_a_variable_or_the_file_names() {
    let folder = folder("api_keys_file = 'keys'\n");
    let keys = format!("# of teams, and others\r\n\n{SECRET}\n b, c\r\n \n  # d\n\n");
    write(&folder.0.join("keys"), keys);
    write(&folder.0.join("key"), "fl-s3cr3t\r\n");
    write(&folder.0.join("empty"), " \n");
    write(&folder.0.join("comment"), "# s3cr3t, later\n\n");
    write(&folder.0.join("large"), vec![b'a'; 64 * 1024 + 1]);
    let named = [("FEATHERLESS_API_KEY_FILE", "key")];
    let printed = with_file(&folder, &["config", "print"], &named).await;
    assert_eq!(
        line(&printed, "api_keys_file"),
        "api_keys_file = \"keys\"  # keys, named by fw.toml line 1"
    );
    assert_eq!(
        line(&printed, "featherless_api_key_file"),
        "featherless_api_key_file = \"key\"  # key, named by FEATHERLESS_API_KEY_FILE"
    );
    // A weight for each of the three keys, and none too many.
    for (weights, code) in [("1,2,3", 0), ("1,2,3,4", 1)] {
        let arguments = ["config", "check", "--key-weights", weights];
        assert_eq!(
            with_file(&folder, &arguments, &named).await.code,
            Some(code)
        );
    }
    fs::write(folder.0.join(".env"), "FEATHERLESS_API_KEY_FILE=key\n").unwrap();
    let printed = with_file(&folder, &["config", "print"], &[]).await;
    assert!(line(&printed, "featherless_api_key_file").ends_with("# key, named by .env line 1"));
    // The secret itself in the environment counts before the file that .env names.
    let printed = with_file(
        &folder,
        &["config", "print"],
        &[("FEATHERLESS_API_KEY", "s3cr3t")],
    )
    .await;
    assert_eq!(
        line(&printed, "featherless_api_key"),
        "# featherless_api_key has 1 hidden value  # FEATHERLESS_API_KEY"
    );
    fs::remove_file(folder.0.join(".env")).unwrap();

    let both = [
        ("FEATHERLESS_API_KEY_FILE", "key"),
        ("FEATHERLESS_API_KEY", "s3cr3t"),
    ];
    let empty = [
        ("FEATHERLESS_API_KEY_FILE", "key"),
        ("FEATHERLESS_API_KEY", ""),
    ];
    assert_eq!(
        with_file(&folder, &["config", "check"], &empty).await.code,
        Some(0)
    );
    for (variables, expected) in [
        (
            &both[..],
            "FEATHERLESS_API_KEY (in the environment) and FEATHERLESS_API_KEY_FILE (in the \
             environment) are both set",
        ),
        (
            &[("FEATHERLESS_API_KEY_FILE", "none")],
            "the file none, which FEATHERLESS_API_KEY_FILE names (in the environment), does not \
             exist",
        ),
        (&[("FEATHERLESS_API_KEY_FILE", "empty")], "is empty"),
        (
            &[("FEATHERLESS_API_KEY_FILE", "large")],
            "is larger than 65536 bytes",
        ),
        (&[("FEATHERLESS_API_KEY_FILE", ".")], "is a directory"),
    ] {
        let checked = with_file(&folder, &["config", "check"], variables).await;
        assert!(
            checked.code == Some(1) && checked.err.contains(expected),
            "{}",
            checked.err
        );
        // What the flag gives is not read from a file, and other commands do not read it.
        let given = ["config", "check", "--featherless-api-key", "fl-1"];
        assert_eq!(with_file(&folder, &given, variables).await.code, Some(0));
        let models = with_file(&folder, &["models", "--gateway", "127.0.0.1:9"], variables).await;
        assert!(!models.err.contains("FEATHERLESS"), "{}", models.err);
    }
    let only_comments = [named[0], ("FEATHERWIRE_API_KEYS_FILE", "comment")];
    let checked = with_file(&folder, &["config", "check"], &only_comments).await;
    let expected = "the file comment, which FEATHERWIRE_API_KEYS_FILE names (in the environment), \
                    is empty";
    assert!(checked.err.contains(expected), "{}", checked.err);
    assert!(!checked.err.contains("s3cr3t"), "{}", checked.err);
    write(
        &folder.0.join("fw.toml"),
        "api_keys_file = 'keys'\napi_keys = ['s3cr3t']\n",
    );
    let checked = with_file(&folder, &["config", "check"], &[]).await;
    let expected =
        "api_keys (in fw.toml line 2) and api_keys_file (in fw.toml line 1) are both set";
    assert!(checked.err.contains(expected), "{}", checked.err);

    // A misspelt name of such a variable.
    let misspelt = [
        ("FEATHERWIRE_API_KEY_FILE", "keys"),
        ("FEATHERWIRE_LISTEN_FILE", "x"),
    ];
    write(&folder.0.join("fw.toml"), "");
    let checked = with_file(&folder, &["config", "check"], &misspelt).await;
    for expected in [
        "does not read FEATHERWIRE_API_KEY_FILE: did you mean FEATHERWIRE_API_KEYS_FILE?",
        "FEATHERWIRE_LISTEN_FILE is not a variable of Featherwire and has no effect: did you \
         mean FEATHERWIRE_LISTEN?",
    ] {
        assert!(checked.err.contains(expected), "{}", checked.err);
    }
}

#[tokio::test]
async fn a_missing_file_of_a_place_that_does_not_count_is_no_error() {
    let folder = folder("api_keys_file = '/missing'\n");
    let key = [("FEATHERWIRE_API_KEYS", "gw_s3cr3t")];
    let checked = with_file(&folder, &["config", "check"], &key).await;
    assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""));

    let models = ["models", "--gateway", "127.0.0.1:9"];
    let with_key = [&models[..], &["--api-key", "gw_1"]].concat();
    for (arguments, variables, expected) in [
        (&models[..], &[][..], "api_keys_file names"),
        (&with_key, &[], "127.0.0.1:9"),
        (&models, &[("FEATHERWIRE_API_KEY", "gw_1")], "127.0.0.1:9"),
    ] {
        let ended = with_file(&folder, arguments, variables).await;
        assert!(
            ended.code == Some(1) && ended.err.contains(expected),
            "{arguments:?}: {}",
            ended.err
        );
        assert_eq!(ended.err.contains("/missing"), expected.contains("names"));
    }
}

#[tokio::test]
async fn an_empty_value_does_not_hide_that_of_a_later_place() {
    let folder = folder("featherless_api_key = 's3cr3t'\napp_title = 'own'\n");
    let example = include_str!("../../.env.example");
    assert!(example.contains("\nFEATHERLESS_API_KEY=\n"));
    write(&folder.0.join(".env"), example);
    let empty = [
        ("FEATHERLESS_API_KEY", ""),
        ("FEATHERWIRE_APP_TITLE", ""),
        ("FEATHERWIRE_EMULATOR", ""),
    ];
    for variables in [&[][..], &empty] {
        let printed = with_file(&folder, &["config", "print"], variables).await;
        assert_eq!(
            line(&printed, "featherless_api_key"),
            "# featherless_api_key has 1 hidden value  # fw.toml line 1"
        );
        assert_eq!(
            line(&printed, "app_title"),
            "app_title = \"own\"  # fw.toml line 2"
        );
    }
    // An empty value that no other place replaces is wrong for an option that needs one.
    for (variable, flag) in [
        ("FEATHERWIRE_TLS_CERT", "--tls-cert"),
        ("FEATHERWIRE_REDIS_URL", "--redis-url"),
        ("FEATHERWIRE_DATABASE_URL", "--database-url"),
        ("FEATHERWIRE_UNITS", "--units"),
    ] {
        let checked = with_file(&folder, &["config", "check"], &[(variable, "")]).await;
        let expected = format!(
            "the value of {variable} ({flag}), set in the environment, is invalid: it is empty: \
             give it a value, or leave it out\n"
        );
        assert!(
            checked.code == Some(2) && checked.err.ends_with(&expected),
            "{}",
            checked.err
        );
    }
    // A part of a list is told by what is expected.
    let no_part = [("FEATHERWIRE_EXPOSE_MODELS", "org/*,,")];
    let checked = with_file(&folder, &["config", "check"], &no_part).await;
    assert!(
        checked.err.contains("the pattern is empty"),
        "{}",
        checked.err
    );
    let no_keys = [("FEATHERWIRE_API_KEYS", "")];
    let checked = with_file(&folder, &["config", "check"], &no_keys).await;
    assert!(checked.err.contains("an empty key"), "{}", checked.err);
}

#[cfg(unix)]
#[tokio::test]
async fn a_secret_in_a_file_that_others_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder("featherless_api_key = 's3cr3t'\n");
    let path = folder.0.join("fw.toml");
    assert_eq!(with_file(&folder, &["config", "check"], &[]).await.err, "");
    let set_mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    // A service may get it by its group.
    set_mode(&path, 0o640);
    assert_eq!(with_file(&folder, &["config", "check"], &[]).await.err, "");
    for mode in [0o604, 0o602] {
        set_mode(&path, mode);
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        let expected = "warning: fw.toml contains a secret (featherless_api_key) and other \
                        users may read or change it: run `chmod o-rw fw.toml`";
        assert!(
            checked.code == Some(0) && checked.err.contains(expected),
            "{}",
            checked.err
        );
    }
    write(&folder.0.join("key"), "fl-1\n");
    for harmless in [
        "featherless_api_key = ''",
        "featherless_api_key_file = 'key'",
        "database_url = 'sqlite:a.db'",
    ] {
        fs::write(&path, harmless).unwrap();
        assert_eq!(
            with_file(&folder, &["config", "check"], &[]).await.err,
            "",
            "{harmless}"
        );
    }
    let key = folder.0.join("key");
    fs::write(&path, "featherless_api_key_file = 'key'").unwrap();
    for (mode, is_told) in [(0o640, false), (0o604, true), (0o602, true)] {
        set_mode(&key, mode);
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        let expected = "warning: key contains a secret (featherless_api_key) and other users may \
                        read or change it: run `chmod o-rw key`";
        assert_eq!(checked.code, Some(0));
        assert_eq!(checked.err.contains(expected), is_told, "{}", checked.err);
    }
}
