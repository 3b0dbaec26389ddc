//! `featherwire chat` in a terminal: a person types, reads and interrupts.

use std::{os::unix::fs::PermissionsExt, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::support::{
    Emulator, Gateway, MODEL, Reply, Scripted,
    program::{Folder, featherwire, run},
    prompt,
    pty::Terminal,
    scripted::{STREAM_HEAD, Then, chunk, chunked, done, event, finish, refused},
};

const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

/// A streamed answer with this text.
fn answer(text: &str) -> Reply {
    Reply::Events(vec![chunk(text), finish(), done()])
}

/// A session in a terminal, at its first prompt.
async fn session(gateway: &Gateway, arguments: &[&str]) -> Terminal {
    let address = gateway.url("");
    let arguments = [&["chat", "--gateway", &address], arguments].concat();
    let mut terminal = Terminal::run(100, 30, &arguments);
    terminal.until("> ").await;
    terminal
}

fn pid(terminal: &Terminal) -> Pid {
    Pid::from_raw(terminal.id().cast_signed()).unwrap()
}

/// The roles and the texts of a request's messages.
fn messages(request: &Value) -> Vec<(&str, &str)> {
    let messages = request["messages"].as_array().unwrap();
    messages
        .iter()
        .map(|one| {
            (
                one["role"].as_str().unwrap(),
                one["content"].as_str().unwrap(),
            )
        })
        .collect()
}

#[tokio::test]
async fn a_session_sends_its_turns_and_saves_and_loads_them() {
    let upstream = Scripted::always(answer("one")).await;
    let gateway = Gateway::to(upstream.address).await;
    let folder = Folder::new();
    let [history, saved, other] = ["history", "saved.json", "other"].map(|name| {
        let path = folder.0.join(name);
        path.to_str().unwrap().to_owned()
    });
    std::fs::write(&other, "precious").unwrap();
    let mut terminal = session(&gateway, &["--history", &history]).await;
    terminal.enter("first");
    terminal.until("one\r\n").await;
    let line = terminal.until("> ").await;
    assert!(
        line.contains("token") && line.contains("first token"),
        "{line}"
    );

    upstream.set_reply(answer("two"));
    terminal.enter("second\\");
    terminal.enter("line");
    terminal.until("two\r\n").await;
    terminal.until("> ").await;
    terminal.enter("/model a/b");
    terminal.until("a/b answers from now on").await;
    terminal.enter("/system be short");
    terminal.until("the system message is set").await;
    upstream.set_reply(answer("three"));
    terminal.enter("/retry");
    terminal.until("three\r\n").await;

    let requests: Vec<_> = upstream.requests().iter().map(|seen| seen.json()).collect();
    let second = [
        ("user", "first"),
        ("assistant", "one"),
        ("user", "second\nline"),
    ];
    assert_eq!(messages(&requests[1]), second);
    assert_eq!(messages(&requests[2])[0], ("system", "be short"));
    assert_eq!(
        messages(&requests[2])[1..],
        second,
        "/retry leaves the answer out"
    );
    assert_eq!(
        (&requests[1]["model"], &requests[2]["model"]),
        (&json!(MODEL), &json!("a/b"))
    );

    terminal.enter(&format!("/save {other}"));
    terminal.until("exists").await;
    for _ in 0..2 {
        terminal.enter(&format!("/save {saved}"));
        terminal.until("the conversation is in").await;
    }
    terminal.enter("/oops");
    terminal.until("there is no command /oops").await;
    terminal.enter("/quit");
    assert_eq!(terminal.wait().await, Some(0));
    assert!(terminal.is_usual());
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "precious");
    for file in [&saved, &history] {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let typed = std::fs::read_to_string(&history).unwrap();
    assert!(
        typed.starts_with("\"first\"\n\"second\\nline\"\n"),
        "{typed}"
    );

    // The file is a request, as it stands.
    let body: Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
    assert_eq!(messages(&body)[4], ("assistant", "three"));
    let address = gateway.url("");
    let load = ["chat", "--load", &saved, "--gateway", &address, "fourth"];
    let more = run(&mut featherwire(&load)).await;
    assert_eq!(
        (more.code, more.out.as_str()),
        (Some(0), "three\n"),
        "{}",
        more.err
    );
    let request = upstream.requests().last().unwrap().json();
    assert_eq!(request["model"], "a/b");
    assert_eq!(messages(&request)[..4], messages(&requests[2])[..4]);
    assert_eq!(messages(&request)[5], ("user", "fourth"));

    // The next session remembers what was typed, and /load continues.
    let mut terminal = session(&gateway, &["--history", &history]).await;
    terminal.enter(&format!("/load {saved}"));
    terminal
        .until("a conversation of 4 messages with a/b goes on")
        .await;
    terminal.until("> ").await;
    terminal.press("\u{1b}[A\u{1b}[A");
    terminal.until("/quit").await;
    terminal.press("\r");
    assert_eq!(terminal.ended().await.0, Some(0));
}

#[tokio::test]
async fn ctrl_c_ends_an_answer_and_closes_upstream_and_the_session_goes_on() {
    let half = Reply::EventsThenSilence(vec![chunk("half an answer")]);
    let upstream = Scripted::always(half).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut terminal = session(&gateway, &[]).await;
    terminal.enter("first");
    terminal.until("half an answer").await;
    upstream.wait_until_stalled().await;
    terminal.press(CTRL_C);
    terminal.until("the answer was ended").await;
    upstream.wait_until_closed().await;
    terminal.until("> ").await;

    upstream.set_reply(answer("whole"));
    terminal.enter("go on");
    terminal.until("whole\r\n").await;
    terminal.until("> ").await;
    let request = upstream.requests()[1].json();
    let expected = [
        ("user", "first"),
        ("assistant", "half an answer"),
        ("user", "go on"),
    ];
    assert_eq!(messages(&request), expected);

    // What is typed is not lost without a word, and the second Ctrl-C ends the session.
    terminal.press("unfinished");
    terminal.until("unfinished").await;
    terminal.press(CTRL_C);
    terminal.until("> ").await;
    terminal.press(CTRL_C);
    terminal.until("Ctrl-C again").await;
    terminal.until("> ").await;
    terminal.press(CTRL_C);
    assert_eq!(terminal.ended().await.0, Some(0));
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn an_error_keeps_the_session_and_ctrl_d_ends_it() {
    let upstream = Scripted::always(refused(403, "model_gated", "bad\u{1b}[2J news")).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut terminal = session(&gateway, &[]).await;
    terminal.enter("first");
    terminal.until("/retry asks again").await;
    terminal.until("> ").await;
    upstream.set_reply(Reply::EventsThenCut(vec![chunk("half")]));
    terminal.enter("second");
    terminal.until("has no answer, and is left out").await;
    terminal.until("upstream_stream_cut").await;
    terminal.until("> ").await;
    upstream.set_reply(answer("whole"));
    terminal.enter("/retry");
    terminal.until("whole\r\n").await;
    terminal.until("> ").await;
    let request = upstream.requests().last().unwrap().json();
    assert_eq!(messages(&request), [("user", "second")]);

    // Without /retry, the next prompt goes on after what was seen.
    upstream.set_reply(Reply::EventsThenCut(vec![chunk("half")]));
    terminal.enter("third");
    terminal.until("upstream_stream_cut").await;
    terminal.until("> ").await;
    upstream.set_reply(answer("rest"));
    terminal.enter("go on");
    terminal.until("rest\r\n").await;
    terminal.until("> ").await;
    let request = upstream.requests().last().unwrap().json();
    let expected = [("user", "third"), ("assistant", "half"), ("user", "go on")];
    assert_eq!(messages(&request)[2..], expected);
    terminal.press(CTRL_D);
    assert_eq!(terminal.ended().await.0, Some(0));
}

#[tokio::test]
async fn a_refusal_is_part_of_the_conversation() {
    let delta = json!({"refusal": "never", "reasoning": "hm"});
    let refusal = Reply::Events(vec![event(&delta, None), finish(), done()]);
    let upstream = Scripted::always(refusal).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut terminal = session(&gateway, &[]).await;
    terminal.enter("first");
    terminal.until("never\r\n").await;
    terminal.until("the model refuses to answer").await;
    terminal.until("> ").await;
    upstream.set_reply(answer("please"));
    terminal.enter("why?");
    terminal.until("please\r\n").await;
    let request = upstream.requests()[1].json();
    let said = json!({"role": "assistant", "refusal": "never", "reasoning": "hm"});
    assert_eq!(request["messages"][1], said);
    assert_eq!(request["messages"][2]["content"], "why?");
}

#[tokio::test]
async fn a_pasted_script_keeps_its_backslashes() {
    let upstream = Scripted::always(answer("one")).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut terminal = session(&gateway, &[]).await;
    // What was typed goes on after the first line, and the script does not.
    terminal.press("explain\\\r");
    terminal.press("\u{1b}[200~docker run \\\n  --rm image\u{1b}[201~\r");
    terminal.until("one\r\n").await;
    let request = upstream.only_request().json();
    let prompt = "explain\ndocker run \\\n  --rm image";
    assert_eq!(messages(&request), [("user", prompt)]);
}

#[tokio::test]
async fn sigterm_ends_a_session_and_gives_the_terminal_back() {
    let half = Reply::EventsThenSilence(vec![chunk("half an answer")]);
    let upstream = Scripted::always(half).await;
    let gateway = Gateway::to(upstream.address).await;
    for has_answered in [false, true] {
        let mut terminal = session(&gateway, &[]).await;
        if has_answered {
            terminal.enter("first");
            terminal.until("half an answer").await;
            terminal.press(CTRL_C);
            terminal.until("the answer was ended").await;
            terminal.until("> ").await;
        }
        terminal.press("unfinished");
        terminal.until("unfinished").await;
        assert!(!terminal.is_usual());
        kill_process(pid(&terminal), Signal::TERM).unwrap();
        assert_eq!(terminal.wait().await, Some(0), "{has_answered}");
        assert!(terminal.is_usual(), "{has_answered}");
        terminal.until_raw("\u{1b}[?2004l").await;
    }

    // In an answer too.
    let mut terminal = session(&gateway, &[]).await;
    terminal.enter("first");
    terminal.until("half an answer").await;
    kill_process(pid(&terminal), Signal::TERM).unwrap();
    assert_eq!(terminal.wait().await, Some(0));
    assert!(terminal.is_usual());
    upstream.wait_until_closed().await;
}

#[tokio::test]
async fn an_answer_does_not_control_the_terminal() {
    let reasoning = event(&json!({"reasoning_content": "hm\u{1b}[2J"}), None);
    let text = chunk("\u{1b}]0;title\u{7}a\u{9b}2Jb\u{1b}[2Jc\ttab");
    let upstream = Scripted::always(Reply::Events(vec![reasoning, text, finish(), done()])).await;
    let gateway = Gateway::to(upstream.address).await;
    let address = gateway.url("");
    for no_colour in [false, true] {
        let arguments = ["chat", "--gateway", &address, "hello"];
        let mut terminal = Terminal::run_with(100, 30, &arguments, |command| {
            command.envs(no_colour.then_some(("NO_COLOR", "1")));
        });
        // The terminal shows the tab as spaces, or passes it on.
        terminal.until("]0;titlea2Jb[2Jc").await;
        terminal.until("first token").await;
        let raw = String::from_utf8(terminal.raw.clone()).unwrap();
        assert!(
            !raw.contains("\u{1b}[2J") && !raw.contains('\u{9b}'),
            "{raw:?}"
        );
        assert!(
            !raw.contains("\u{1b}]") && !raw.contains('\u{7}'),
            "{raw:?}"
        );
        assert_eq!(raw.contains("\u{1b}[2mhm[2J"), !no_colour, "{raw:?}");
        assert_eq!(terminal.ended().await.0, Some(0));
    }
}

#[tokio::test]
async fn a_call_that_waits_shows_its_place_in_the_queue() {
    let emulator = Emulator::start().await;
    let gateway = Gateway::with(emulator.address, |config| config.units.units = Some(1)).await;
    let holds = prompt("emulator/stall-after-5", "hold the unit");
    let url = gateway.url("/v1/chat/completions:stream");
    let held = gateway
        .http()
        .post(url)
        .header("content-type", "application/json")
        .body(holds.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(held.status(), 200);
    let mut terminal = session(&gateway, &[]).await;
    terminal.enter("repeat after me: at last");
    terminal.until("waiting for meta-llama").await;
    terminal.until("next in the queue").await;
    let mut other = session(&gateway, &[]).await;
    other.enter("repeat after me: later");
    other.until("2nd in the queue").await;
    // The first one gives its place up, and takes the last one.
    terminal.press(CTRL_C);
    terminal.until("> ").await;
    other.until("next in the queue").await;
    terminal.enter("repeat after me: at last");
    terminal.until("2nd in the queue").await;
    drop(held);
    other.until("later\r\n").await;
    terminal.until("at last\r\n").await;
    let line = terminal.until("> ").await;
    assert!(line.contains("1 unit · waited"), "{line}");
    other.until("> ").await;
    other.press(CTRL_D);
    assert_eq!(other.ended().await.0, Some(0));
    terminal.press(CTRL_D);
    assert_eq!(terminal.ended().await.0, Some(0));
}

#[tokio::test]
async fn reasoning_is_on_standard_error_and_never_in_a_log() {
    let reasoning = event(&json!({"reasoning_content": "hm"}), None);
    let events = vec![reasoning, chunk("yes"), finish(), done()];
    let upstream = Scripted::always(Reply::Events(events)).await;
    let gateway = Gateway::to(upstream.address).await;
    let address = gateway.url("");
    for format in ["text", "json"] {
        let arguments = [
            "chat",
            "--log-format",
            format,
            "--gateway",
            &address,
            "well?",
        ];
        let chat = run(&mut featherwire(&arguments)).await;
        let (out, err) = (chat.out.as_str(), chat.err.as_str());
        assert_eq!(
            (chat.code, out, err),
            (Some(0), "yes\n", "hm\n\n"),
            "{format}"
        );
    }
}

#[tokio::test]
async fn a_prompt_with_json_prints_an_object_for_each_chunk() {
    let text = chunk("a\u{9b}b");
    let upstream = Scripted::always(Reply::Events(vec![text, finish(), done()])).await;
    let gateway = Gateway::to(upstream.address).await;
    let address = gateway.url("");
    let arguments = [
        "chat",
        "--json",
        "--priority",
        "batch",
        "--gateway",
        &address,
        "hi",
    ];
    let chat = run(&mut featherwire(&arguments)).await;
    assert_eq!((chat.code, chat.err.as_str()), (Some(0), ""));
    assert!(!chat.out.contains('\u{9b}'), "{}", chat.out);
    let chunks: Vec<Value> = chat
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(chunks[0]["choices"][0]["delta"]["content"], "a\u{9b}b");
    let report = &chunks.last().unwrap()["featherwire"];
    assert_eq!(
        (&report["attempts"], &report["model"]),
        (&json!(1), &json!(MODEL))
    );
}

#[tokio::test]
async fn images_are_sent_by_their_content_and_not_by_their_name() {
    let upstream = Scripted::always(answer("a cat")).await;
    let gateway = Gateway::to(upstream.address).await;
    let address = gateway.url("");
    let folder = Folder::new();
    let file = |name: &str, content: &[u8]| {
        let path = folder.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let png = file("cat.jpg", b"\x89PNG\r\n\x1a\nrest");
    let jpeg = file("dog", b"\xff\xd8\xff\xe0rest");
    let chat = async |images: &[&str]| {
        let mut command = featherwire(&["chat", "--gateway", &address, "what is it?"]);
        run(command.args(images.iter().flat_map(|image| ["--image", image]))).await
    };
    let seen = chat(&[&png, &jpeg]).await;
    assert_eq!(
        (seen.code, seen.out.as_str()),
        (Some(0), "a cat\n"),
        "{}",
        seen.err
    );
    let content = &upstream.only_request().json()["messages"][0]["content"];
    let urls = [0, 1].map(|index| content[index]["image_url"]["url"].as_str().unwrap());
    assert_eq!(urls[0], "data:image/png;base64,iVBORw0KGgpyZXN0");
    assert_eq!(urls[1], "data:image/jpeg;base64,/9j/4HJlc3Q=");
    assert_eq!(content[2], json!({"type": "text", "text": "what is it?"}));

    let text = file("cat.png", b"a cat");
    let large = folder.0.join("large");
    let hole = std::fs::File::create(&large).unwrap();
    hole.set_len(20 * 1024 * 1024 + 1).unwrap();
    for (image, sentence) in [
        (text.as_str(), "is not an image"),
        (large.to_str().unwrap(), "larger than 20 MiB"),
        ("/nowhere/cat.png", "cannot read the image"),
    ] {
        let bad = chat(&[image]).await;
        assert_eq!((bad.code, bad.out.as_str()), (Some(1), ""), "{image}");
        assert!(bad.err.contains(sentence), "{}", bad.err);
    }
    upstream.only_request();
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_call_and_closes_upstream() {
    let piece = chunked(&format!("data: {}\n\n", chunk("and so on ")));
    let endless = Reply::Wire(
        STREAM_HEAD.as_bytes().to_vec(),
        Then::Repeat(piece.into_bytes()),
    );
    let upstream = Scripted::always(endless).await;
    let gateway = Gateway::to(upstream.address).await;
    let mut command = featherwire(&["chat", "tell me all", "--gateway", &gateway.url("")]);
    let mut chat = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 9];
    let mut out = chat.stdout.take().unwrap();
    out.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"and so on");
    drop(out);
    let ended = chat.wait_with_output().await.unwrap();
    let err = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), err.as_str()), (Some(0), ""));
    upstream.wait_until_closed().await;
}
