//! `featherwire units` as a full screen.

use std::time::Duration;

use featherwire::error::Kind;
use tokio::process::Command;

use crate::support::{
    Door, Emulator, Gateway, program::featherwire, prompt, pty::Terminal, rest::http,
};

const ENTERS: &str = "\u{1b}[?1049h";
const LEAVES: &str = "\u{1b}[?1049l";

fn units(gateway: &Gateway, columns: u16, rows: u16) -> Terminal {
    Terminal::run(columns, rows, &["units", "--gateway", &gateway.url("")])
}

async fn switch_feed(emulator: &Emulator, value: &str) {
    let url = format!("http://{}/emulator/switches/feed", emulator.address);
    let reply = http().put(url).body(value.to_owned()).send().await.unwrap();
    assert_eq!(reply.status(), 200, "{value}");
}

/// Ends the program, and asserts that it gives the terminal back.
async fn ends(mut terminal: Terminal, end: impl AsyncFnOnce(&mut Terminal)) {
    end(&mut terminal).await;
    // The last thing that a full screen writes.
    terminal.until_raw(LEAVES).await;
    assert_eq!(terminal.wait().await, Some(0));
    assert!(terminal.is_usual());
}

#[tokio::test]
async fn the_units_are_drawn_and_the_terminal_is_given_back() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| config.units.units = Some(1)).await;
    let url = gateway.url("/v1/chat/completions:stream");
    let stalled = prompt("emulator/stall-after-5", "hold the unit");
    let held = gateway
        .http()
        .post(&url)
        .header("content-type", "application/json")
        .body(stalled.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(held.status(), 200);
    let waits = gateway
        .http()
        .post(&url)
        .header("content-type", "application/json")
        .body(stalled.to_string())
        .send();
    let waits = tokio::spawn(waits);
    gateway.wait_for_queued(1).await;
    for (columns, rows) in [(100, 30), (40, 10)] {
        let mut terminal = units(&gateway, columns, rows);
        terminal.until("featherwire units").await;
        terminal.until("● live").await;
        terminal.until("gateway 1").await;
        terminal.until("1 waiting").await;
        // A name that is too long is cut in its middle.
        terminal.until("emulator/s").await;
        assert!(String::from_utf8_lossy(&terminal.raw).contains(ENTERS));
        assert!(!terminal.is_usual(), "keys are not shown");
        // Another size is drawn from the beginning.
        terminal.resize(columns - 1, rows + 5);
        terminal.until("featherwire units").await;
        terminal.until("● live").await;
        ends(terminal, async |terminal| terminal.press("q")).await;
    }
    let terminal = units(&gateway, 80, 24);
    ends(terminal, async |terminal| {
        terminal.until("● live").await;
        terminal.press("\u{3}");
    })
    .await;
    let terminal = units(&gateway, 80, 24);
    ends(terminal, async |terminal| {
        terminal.until("● live").await;
        let pid = terminal.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(kill.unwrap().success());
    })
    .await;
    waits.abort();
}

#[tokio::test]
async fn a_key_that_comes_with_another_size_is_not_lost() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    // Which of the two comes first is a matter of chance.
    for round in 0..10 {
        let mut terminal = units(&gateway, 100, 30);
        terminal.until("● live").await;
        terminal.resize(90 + round, 25);
        ends(terminal, async |terminal| terminal.press("q")).await;
    }
}

#[tokio::test]
async fn a_feed_that_breaks_is_shown_and_followed_again() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::to(emulator.address).await;
    let mut terminal = units(&gateway, 100, 30);
    terminal.until("● live").await;
    switch_feed(&emulator, "cut").await;
    terminal.until("○ lost, again in").await;
    switch_feed(&emulator, "usual").await;
    terminal.until("● live").await;
    ends(terminal, async |terminal| terminal.press("q")).await;
}

#[tokio::test]
async fn without_a_gateway_the_terminal_is_not_taken() {
    let terminal = Terminal::run(80, 24, &["units", "--gateway", "http://127.0.0.1:9"]);
    let (code, text) = terminal.ended().await;
    assert_eq!(code, Some(1));
    assert!(text.contains("no gateway at http://127.0.0.1:9"), "{text}");
}

#[tokio::test]
async fn models_that_fail_are_shown_in_every_size_and_in_plain_lines() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| {
        config.models.circuit_failures = 2;
        config.models.circuit_wait = Duration::from_secs(600);
    })
    .await;
    for _ in 0..2 {
        gateway
            .ask(Door::RestUnary, &prompt("emulator/503", "hi"))
            .await
            .failed(Kind::Unavailable, "no_capacity");
    }
    for (columns, rows, parts) in [
        (
            100,
            30,
            &["failing", "emulator/503", "no_capacity ×2", "rests for"][..],
        ),
        (40, 10, &["emulator/503", "rests for"]),
    ] {
        let mut terminal = units(&gateway, columns, rows);
        terminal.until("● live").await;
        for part in parts {
            terminal.until(part).await;
        }
        ends(terminal, async |terminal| terminal.press("q")).await;
    }
    let address = gateway.url("");
    let once = ["units", "--once", "--gateway", &address];
    let (code, text) = Terminal::run(100, 30, &once).ended().await;
    assert_eq!(code, Some(0));
    let row = text.lines().find(|line| line.contains("emulator/503"));
    assert!(row.unwrap().contains("no_capacity ×2"), "{text}");
    let piped = featherwire(&once).output().await.unwrap();
    let line = String::from_utf8(piped.stdout).unwrap();
    let failing = "  failing 1: emulator/503 (no_capacity ×2, rests for ";
    assert!(line.contains(failing), "{line}");
    assert_eq!(line.lines().count(), 1);
}
