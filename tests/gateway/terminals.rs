//! What the commands show in a terminal, and what they write elsewhere.

use serde_json::json;

use crate::{
    key_limits::post,
    keys::{end, serve, text},
    support::{
        Database, Gateway, MODEL, Reply, Scripted,
        program::{Ended, featherwire, run},
        prompt,
        pty::Terminal,
    },
};

/// Differs from [`MODEL`] in its middle only.
const SIBLING: &str = "meta-llama/Meta-Llama-3.1-70B-Instruct";

/// Whether there is the program that has a terminal for others: not on each machine.
async fn has_script() -> bool {
    let mut script = tokio::process::Command::new("script");
    script.arg("--version").output().await.is_ok()
}

/// Runs a command in a terminal with this number of columns. Its two outputs come as one.
async fn in_terminal(database: &Database, columns: u16, arguments: &str) -> Ended {
    let program = env!("CARGO_BIN_EXE_featherwire");
    let line = format!("stty cols {columns} rows 24 && {program} {arguments}");
    let mut script = tokio::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    script.env_clear();
    script.envs(std::env::vars().filter(|(name, _)| name == "PATH"));
    // A spinner of a slow machine would be part of the output.
    script.env("TERM", "dumb");
    script.env("FEATHERWIRE_DATABASE_URL", &database.url);
    script.current_dir(std::env::temp_dir());
    let ended = run(script.stdin(std::process::Stdio::null())).await;
    assert_eq!(ended.code, Some(0), "{arguments}: {}", ended.out);
    ended
}

/// What a command writes to a file or a pipe.
async fn elsewhere(database: &Database, arguments: &str) -> String {
    let mut command = featherwire(&arguments.split(' ').collect::<Vec<_>>());
    let ended = run(command.env("FEATHERWIRE_DATABASE_URL", &database.url)).await;
    assert_eq!(ended.code, Some(0), "{arguments}: {}", ended.err);
    ended.out
}

/// The line with this text.
fn line<'t>(table: &'t str, part: &str) -> &'t str {
    let mut lines = table.lines().filter(|line| line.contains(part));
    let (line, other) = (lines.next(), lines.next());
    assert!(line.is_some() && other.is_none(), "{part} in:\n{table}");
    line.unwrap()
}

fn assert_fits(table: &str, columns: usize) {
    let fits = table.lines().all(|line| line.chars().count() <= columns);
    assert!(fits, "{columns}:\n{table}");
}

#[tokio::test]
async fn a_list_of_keys_shows_who_is_an_administrator_and_whose_keys_they_are() {
    if !has_script().await {
        return;
    }
    let database = Database::sqlite();
    let admin = database.keys_json(&["create", "--name", "root", "--admin", "admin"]);
    let admin = text(&admin.await, "id").to_owned();
    let viewer = ["create", "--name", "board", "--admin", "viewer"];
    let viewer = text(&database.keys_json(&viewer).await, "id").to_owned();
    let mut ids = Vec::new();
    let long = "the-key-of-the-search-team-in-";
    for city in ["Berlin", "Bergen"] {
        let (name, owner) = (format!("{long}{city}"), "Ada Lovelace");
        let create = ["create", "--name", &name, "--owner", owner];
        ids.push(text(&database.keys_json(&create).await, "id").to_owned());
    }
    // A time of the last use is wider than none.
    let used = "UPDATE featherwire_keys SET last_used_at = 1800000000000 WHERE owner <> ''";
    let mut is_used = false;
    for columns in [40, 80, 100, 160, 80] {
        if columns == 160 {
            database.execute(used).await;
            is_used = true;
        }
        let table = in_terminal(&database, columns, "keys list").await.out;
        assert_fits(&table, usize::from(columns.max(80)));
        let last_use = if is_used { "2027-01-15" } else { "never" };
        let columns_of = |id: &str| -> Vec<_> { line(&table, id).split_whitespace().collect() };
        assert_eq!(
            columns_of(&admin)[1..4],
            ["root", "admin", "active"],
            "{table}"
        );
        assert_eq!(columns_of(&viewer)[1..4], ["board", "viewer", "active"]);
        assert_eq!(columns_of(&ids[0])[2..5], ["-", "active", last_use]);
        assert_ne!(columns_of(&ids[0])[1], columns_of(&ids[1])[1], "{table}");
        assert_eq!(table.contains("OWNER"), columns >= 100, "{table}");
        assert_eq!(table.contains("Ada Lovelace"), columns >= 100, "{table}");
    }
    let whole = elsewhere(&database, "keys list").await;
    let berlin = line(&whole, &ids[0]);
    assert!(berlin.contains(&format!("{long}Berlin ")), "{whole}");
    assert!(berlin.ends_with("  Ada Lovelace"), "{whole}");
}

#[tokio::test]
async fn models_that_differ_differ_in_a_terminal_and_are_whole_elsewhere() {
    if !has_script().await {
        return;
    }
    let database = Database::sqlite();
    let key = database.keys_json(&["create", "--name", "app"]).await;
    let secret = text(&key, "secret");
    let (child, address) = serve(&database, &[]).await;
    for model in [MODEL, SIBLING] {
        let answer = post(&address, secret, prompt(model, "hi"), &[]).await;
        assert_eq!(answer.status(), 200);
    }
    let bad = json!({"model": MODEL, "messages": []});
    let refused = post(&address, secret, bad, &[]).await;
    assert_eq!(refused.status(), 400);
    end(child).await;
    for columns in [80, 132] {
        let usage = in_terminal(&database, columns, "usage --by model")
            .await
            .out;
        let calls = in_terminal(&database, columns, "calls").await.out;
        for table in [&usage, &calls] {
            assert_fits(table, usize::from(columns) - 1);
            let are_whole = table.contains(MODEL) && table.contains(SIBLING);
            assert_eq!(are_whole, columns == 132, "{table}");
        }
        assert_eq!(calls.contains("invalid_value"), columns == 132, "{calls}");
        // They are cut, and not the same.
        line(&usage, "8B-Instruct");
        line(&usage, "70B-Instruct");
        let models = calls.lines().filter(|line| line.contains("app"));
        let models = models.map(|line| line.split_whitespace().nth(3));
        let models: std::collections::BTreeSet<_> = models.collect();
        assert_eq!(models.len(), 2, "{calls}");
    }
    for arguments in ["usage --by model", "calls"] {
        let whole = elsewhere(&database, arguments).await;
        assert!(whole.contains(MODEL) && whole.contains(SIBLING), "{whole}");
    }
    assert!(
        elsewhere(&database, "calls")
            .await
            .contains("invalid_value")
    );
}

#[tokio::test]
async fn a_command_that_waits_shows_a_spinner_and_ctrl_c_ends_it() {
    let upstream = Scripted::always(Reply::Silence).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut terminal = Terminal::run(60, 10, &["models", "--gateway", &gateway.url("")]);
    terminal.until("reading the catalogue · ").await;
    terminal.press("\u{3}");
    assert_eq!(terminal.wait().await, None, "the signal ends it");
}
