//! The tables `[[account]]` of the configuration file.

use crate::{
    configuration_file::{folder, line, with_file, write},
    support::{Emulator, MODEL, program::featherwire, program::run},
};
use featherwire::emulator::EmulatorConfig;

/// Two accounts as an operator writes them.
const TWO: &str = r#"
retries = 1

[[account]]
name = "main"
featherless_api_key = "fl-s3cr3t"
weight = 3

[[account]]
name = "own-1"
featherless_base_url = "http://127.0.0.1:8080/v1"
models = ["own/*", "org/model"]
units = 4
"#;

#[tokio::test]
async fn accounts_are_valid_and_are_shown_without_their_keys() {
    let folder = folder(TWO);
    let checked = with_file(&folder, &["config", "check"], &[]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    let printed = with_file(&folder, &["config", "print"], &[]).await;
    assert_eq!(line(&printed, "retries"), "retries = 1  # fw.toml line 2");
    let tables = "\n[[account]]\nname = \"main\"\n# featherless_api_key has 1 hidden value\nweight \
                  = 3\n\n[[account]]\nname = \"own-1\"\n# featherless_api_key is not \
                  set\nfeatherless_base_url = \"http://127.0.0.1:8080/v1\"\nweight = 1\nmodels = \
                  [\"own/*\", \"org/model\"]\nunits = 4\n";
    assert!(printed.out.ends_with(tables), "{}", printed.out);
    // The emulator replaces all upstreams.
    let emulator = [("FEATHERLESS_API_KEY", "x"), ("FEATHERWIRE_EMULATOR", "1")];
    let checked = with_file(&folder, &["config", "check"], &emulator).await;
    assert_eq!(checked.code, Some(0), "{}", checked.err);
}

#[tokio::test]
async fn a_key_can_be_in_a_file_of_its_own() {
    let toml = "[[account]]\nname = 'a'\nfeatherless_api_key_file = 'key'\n";
    let folder = folder(toml);
    let missing = with_file(&folder, &["config", "check"], &[]).await;
    assert!(
        missing.code == Some(1) && missing.err.contains("the file key, which"),
        "{}",
        missing.err
    );
    write(&folder.0.join("key"), " \n");
    let empty = with_file(&folder, &["config", "check"], &[]).await;
    assert!(empty.err.contains("is empty"), "{}", empty.err);
    write(&folder.0.join("key"), "s3cr3t\n");
    let checked = with_file(&folder, &["config", "check"], &[]).await;
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    write(&folder.0.join("key"), "s3cr3t with spaces\n");
    let odd = with_file(&folder, &["config", "check"], &[]).await;
    assert!(
        odd.err.contains("a character that a header cannot"),
        "{}",
        odd.err
    );
    // Commands that call no upstream do not read it.
    std::fs::remove_file(folder.0.join("key")).unwrap();
    let proto = with_file(&folder, &["proto", "--help"], &[]).await;
    assert_eq!(proto.code, Some(0), "{}", proto.err);
}

#[tokio::test]
async fn a_wrong_table_is_refused_with_what_to_do() {
    let one = |members: &str| format!("[[account]]\nname = 'a'\n{members}\n");
    let with_key = |members: &str| one(&format!("featherless_api_key = 's3cr3t'\n{members}"));
    let many: String = (0..65)
        .map(|number| format!("[[account]]\nname = 'a{number}'\nunits = 1\n"))
        .collect();
    let twice = [with_key(""), with_key("")].concat();
    let long = "a".repeat(33);
    let wrong = [
        (
            "account = []".to_owned(),
            "line 1: account is an empty list",
        ),
        (
            "account = 'a'".to_owned(),
            "begin each account with a line [[account]]",
        ),
        (
            "account = ['a']".to_owned(),
            "begin each account with a line [[account]]",
        ),
        (
            "[[account]]\nunits = 1".to_owned(),
            "line 1: [[account]]: name is missing",
        ),
        (
            "[[account]]\nname = 'Team A'".to_owned(),
            "line 2: [[account]]: name must be 1 to 32",
        ),
        (
            format!("[[account]]\nname = '{long}'"),
            "name must be 1 to 32",
        ),
        ("[[account]]\nname = ''".to_owned(), "name must be 1 to 32"),
        (one("units = 'four'"), "units must be a whole number"),
        (one("units = -1"), "units must be a whole number"),
        (
            with_key("weight = 0"),
            "weight must be a whole number from 1 to 1000",
        ),
        (
            with_key("weight = 1001"),
            "weight must be a whole number from 1 to 1000",
        ),
        (with_key("models = []"), "or leave it out for all models"),
        (with_key("models = 'org/*'"), "models must be a list"),
        (with_key("models = ['a b']"), "cannot occur in a model's id"),
        (
            with_key("featherless_base_url = 'ftp://x'"),
            "line 4: [[account]]: featherless_base_url",
        ),
        (
            with_key("featherless_base_url = 'http://api.featherless.ai/v1'"),
            "use https://",
        ),
        (with_key("key = 's3cr3t'"), "an account has no such member"),
        (with_key("s3cr3t = 1"), "an account has no such member"),
        (
            with_key("featherless_api_key_file = 'f'"),
            "are both set: remove one of them",
        ),
        (one(""), "[[account]] a has no key"),
        (one("featherless_api_key = ''"), "[[account]] a has no key"),
        (twice, "two accounts have the name a"),
        (many, "65 accounts are more than the 64"),
        (
            format!("featherless_api_key = 's3cr3t'\n{}", with_key("")),
            "write the key as featherless_api_key into an [[account]]",
        ),
        (
            format!("units = 4\n{}", with_key("")),
            "write units into each [[account]] that needs it",
        ),
    ];
    for (toml, expected) in wrong {
        let folder = folder(&toml);
        let checked = with_file(&folder, &["config", "check"], &[]).await;
        assert_ne!(checked.code, Some(0), "{toml}");
        assert!(checked.err.contains(expected), "{toml}: {}", checked.err);
    }
}

#[tokio::test]
async fn check_asks_each_account_and_fails_if_one_does_not_answer() {
    let working = Emulator::start().await;
    let refusing = Emulator::with(EmulatorConfig {
        api_key: Some("another".to_owned()),
        ..EmulatorConfig::default()
    })
    .await;
    let table = |name: &str, emulator: &Emulator, members: &str| {
        format!(
            "[[account]]\nname = '{name}'\nfeatherless_api_key = 's3cr3t'\nfeatherless_base_url = \
             'http://{}/v1'\n{members}\n",
            emulator.address
        )
    };
    let both = [
        table("first", &working, ""),
        table(
            "second",
            &working,
            &format!("models = ['other/*', '{MODEL}']"),
        ),
        table("third", &working, "models = ['*/*-405B-*']"),
    ];
    let with = async |toml: &str| {
        let folder = folder(toml);
        let mut command = featherwire(&["check", "--config", "fw.toml"]);
        run(command.current_dir(&folder.0)).await
    };
    let ended = with(&both.concat()).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
    assert_eq!(
        ended.out.matches("Featherless answers").count(),
        3,
        "{}",
        ended.out
    );
    let (_, third) = ended.out.split_once("account   third").unwrap();
    let first_listed = "model     meta-llama/Meta-Llama-3.1-405B-Instruct\n";
    assert!(third.contains(first_listed), "{third}");
    let nothing = table("nothing", &working, "models = ['other/*']");
    let ended = with(&[both[0].clone(), nothing].concat()).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let (_, nothing) = ended.out.split_once("account   nothing").unwrap();
    assert!(nothing.contains("model_not_found"), "{nothing}");
    let ended = with(&[both[0].clone(), table("fourth", &refusing, "")].concat()).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    let (first, fourth) = ended.out.split_once("account   fourth").unwrap();
    assert!(first.contains("Featherless answers"), "{first}");
    assert!(fourth.contains("featherless_api_key_rejected"), "{fourth}");
    assert!(!ended.out.contains("s3cr3t"), "{}", ended.out);
}
