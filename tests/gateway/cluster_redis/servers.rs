//! What may be at the URL: Redis with a password, with TLS, behind Sentinels, as a cluster, too old,
//! away, or something else.

use std::{fs, net::SocketAddr};

use featherwire::{
    cluster::redis::{Mailbox, Problem, ProblemKind, Redis},
    config::RedisUrl,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{SPACE, campaign, connect, elect};
use crate::support::{
    certificates::Authority,
    poll,
    program::{featherwire, line_with, run, started},
    redis::{RedisServer, free_port},
    rest::http as http_client,
};

async fn problem_of(url: &str) -> Problem {
    let url: RedisUrl = url.parse().unwrap();
    let problem = Redis::connect(&url, SPACE).await.unwrap_err();
    let text = problem.to_string();
    assert!(!text.contains("s3cr3t"), "{text}");
    problem
}

/// A server that sends this for each command.
async fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = caller.read(&mut bytes).await {
                    // Each command begins with the number of its parts.
                    let commands = bytes[..length].iter().filter(|byte| **byte == b'*');
                    let answers = answer.repeat(commands.count());
                    if caller.write_all(answers.as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_password_is_needed_and_never_shown() {
    let Some(server) = RedisServer::start_with(&["--requirepass", "s3cr3t"]).await else {
        return;
    };
    let create = create_user().replace("PASSWORD", "s3cr3t-2");
    let create: Vec<_> = create.split_whitespace().collect();
    let () = server.command(&create).await;
    let port = server.port;
    for good in [":s3cr3t@", "default:s3cr3t@", "featherwire:s3cr3t-2@"] {
        let url = format!("redis://{good}127.0.0.1:{port}").parse().unwrap();
        let redis = Redis::connect(&url, SPACE).await.unwrap();
        let leader = campaign(&redis, 1).await.leader;
        assert!(leader.is_some());
        assert!(!format!("{redis:?}").contains("s3cr3t"));
    }
    for wrong in ["", ":s3cr3t-3@", "other:s3cr3t@"] {
        let problem = problem_of(&format!("redis://{wrong}127.0.0.1:{port}")).await;
        assert_eq!(problem.kind(), ProblemKind::AccessDenied, "{problem}");
        let text = problem.to_string();
        assert!(
            text.contains("FEATHERWIRE_REDIS_URL (--redis-url)"),
            "{text}"
        );
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
    }
    // Debian's Redis needs none.
    let Some(open) = RedisServer::start().await else {
        return;
    };
    let problem = problem_of(&format!("redis://:s3cr3t@127.0.0.1:{}", open.port)).await;
    assert_eq!(problem.kind(), ProblemKind::AccessDenied, "{problem}");
}

/// The command of the documentation that creates a user with all the rights that are needed.
fn create_user() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scale.md");
    let document = fs::read_to_string(path).unwrap();
    let (_, from) = document.split_once("```text\nACL SETUSER").unwrap();
    format!("ACL SETUSER{}", from.split_once("```").unwrap().0)
}

#[tokio::test]
async fn a_user_who_may_do_too_little_is_refused_at_the_start() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let create = create_user().replace("PASSWORD", "s3cr3t");
    let url = format!("redis://featherwire:s3cr3t@127.0.0.1:{}", server.port);
    let commands = create
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('+'));
    for command in commands.filter(|command| !["info", "select"].contains(command)) {
        let () = server
            .command(&["ACL", "SETUSER", "featherwire", "reset"])
            .await;
        let without = format!("{create} -{command}");
        let without: Vec<_> = without.split_whitespace().collect();
        let () = server.command(&without).await;
        let problem = problem_of(&url).await;
        assert_eq!(
            problem.kind(),
            ProblemKind::AccessDenied,
            "{command}: {problem}"
        );
        let text = problem.to_string();
        let is_named = text.contains(&format!("may not use {}. ", command.to_uppercase()));
        assert!(is_named || command.starts_with("eval"), "{text}");
    }
    // All commands, but other keys.
    let other = create.replace("~featherwire:*", "resetkeys ~other:*");
    let other: Vec<_> = other.split_whitespace().collect();
    let () = server.command(&other).await;
    let problem = problem_of(&url).await;
    assert_eq!(problem.kind(), ProblemKind::AccessDenied, "{problem}");
    let mut serve = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
    serve.env("FEATHERWIRE_REDIS_URL", &url);
    let ended = run(&mut serve).await;
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(
        ended.err.contains("the keys are featherwire:*"),
        "{}",
        ended.err
    );
    // The check leaves nothing.
    Redis::connect(&server.url(), SPACE).await.unwrap();
    let left: u64 = server.command(&["DBSIZE"]).await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_database_has_a_number() {
    let Some(server) = RedisServer::start().await else {
        return;
    };
    let with = |database: &str| format!("redis://127.0.0.1:{}/{database}", server.port);
    let third = Redis::connect(&with("3").parse().unwrap(), SPACE)
        .await
        .unwrap();
    let first = connect(&server).await;
    // Two clusters of the same name, in two databases.
    elect(&third, 1).await;
    elect(&first, 2).await;
    // And two names in one database.
    let other = Redis::connect(&server.url(), "other").await.unwrap();
    elect(&other, 3).await;
    let problem = problem_of(&with("999")).await;
    assert_eq!(problem.kind(), ProblemKind::NotRedis, "{problem}");
    assert!(problem.to_string().contains("no database"), "{problem}");
}

#[tokio::test]
async fn a_server_that_takes_tls_and_plain_text_is_not_taken_for_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut caller, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(1..) = caller.read(&mut bytes).await {
                    // An alert of TLS, for what begins a handshake.
                    let answer: &[u8] = match bytes[0] {
                        0x16 => &[0x15, 3, 3, 0, 2, 2, 40],
                        _ => b"-LOADING not yet\r\n",
                    };
                    if caller.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    for scheme in ["redis", "rediss"] {
        let problem = problem_of(&format!("{scheme}://{address}")).await;
        assert_eq!(problem.kind(), ProblemKind::Unreachable, "{problem}");
        assert!(!problem.to_string().contains("the URL must"), "{problem}");
    }
}

#[tokio::test]
async fn a_certificate_must_be_of_an_authority_that_is_trusted() {
    // The file of authorities that this process trusts. `tests/redis/run` names it, in its own folder
    // and in SSL_CERT_FILE too: the machine's own file must stay as it is.
    let Ok(trusted) = std::env::var("FEATHERWIRE_TEST_AUTHORITIES") else {
        return;
    };
    let authority = Authority::new();
    fs::write(&trusted, &authority.pem).unwrap();
    for (signer, is_trusted) in [(&authority, true), (&Authority::new(), false)] {
        let pair = signer.server("redis");
        let folder = crate::support::program::Folder::new();
        let write = |name: &str, text: &str| {
            let path = folder.0.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (cert, key) = (write("tls.crt", &pair.cert), write("tls.key", &pair.key));
        let (plain, tls) = (free_port().await.to_string(), free_port().await.to_string());
        let arguments = [
            "--port",
            &plain,
            "--tls-port",
            &tls,
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
        ];
        let Some(server) = RedisServer::start_with(&arguments).await else {
            return;
        };
        let url = format!("rediss://127.0.0.1:{tls}");
        if is_trusted {
            let redis = Redis::connect(&url.parse().unwrap(), SPACE).await.unwrap();
            let epoch = elect(&redis, 1).await;
            redis.to_leader(epoch, "encrypted".into()).await.unwrap();
            let mut mailbox = redis.mailbox(Mailbox::Leader(epoch));
            assert_eq!(mailbox.next().await.unwrap(), ["encrypted"]);
        } else {
            let problem = problem_of(&url).await;
            assert_eq!(problem.kind(), ProblemKind::Unreachable, "{problem}");
            assert!(problem.to_string().contains("certificate"), "{problem}");
        }
        // One port speaks TLS and the other does not.
        let with_tls = |kind: &str| format!("speaks TLS, so the URL must begin with {kind}");
        let without_tls =
            |kind: &str| format!("does not speak TLS, so the URL must begin with {kind}");
        for (url, words) in [
            (
                format!("redis://:s3cr3t@127.0.0.1:{tls}"),
                with_tls("rediss://"),
            ),
            (
                format!("redis-cluster://127.0.0.1:{tls}"),
                with_tls("rediss-cluster://"),
            ),
            (
                format!("redis-sentinel://127.0.0.1:{tls}/m"),
                with_tls("rediss-sentinel://"),
            ),
            (
                format!("rediss://:s3cr3t@127.0.0.1:{plain}"),
                without_tls("redis://"),
            ),
            (
                format!("rediss-cluster://127.0.0.1:{plain}"),
                without_tls("redis-cluster://"),
            ),
            (
                format!("rediss-sentinel://127.0.0.1:{plain}/m"),
                without_tls("redis-sentinel://"),
            ),
        ] {
            let problem = problem_of(&url).await;
            assert_eq!(problem.kind(), ProblemKind::NotRedis, "{problem}");
            assert!(problem.to_string().contains(&words), "{url}: {problem}");
        }
        drop(server);
    }
}

#[tokio::test]
async fn the_primary_that_the_sentinels_name_is_followed() {
    let (Some(mut first), Some(second)) = (RedisServer::start().await, RedisServer::start().await)
    else {
        return;
    };
    // It is told by hand who the primary is, instead of finding out.
    let sentinel = RedisServer::start_with(&["--sentinel"]).await.unwrap();
    let name = async |server: &RedisServer| {
        let _: redis::RedisResult<()> = sentinel.try_command(&["SENTINEL", "REMOVE", "main"]).await;
        let port = server.port.to_string();
        let monitor = ["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"];
        let () = sentinel.command(&monitor).await;
    };
    name(&first).await;
    let away = free_port().await;
    let hosts = format!("127.0.0.1:{away},127.0.0.1:{}", sentinel.port);
    let url = format!("redis-sentinel://{hosts}/main").parse().unwrap();
    let redis = Redis::connect(&url, SPACE).await.unwrap();
    let epoch = elect(&redis, 1).await;
    first.kill().await;
    name(&second).await;
    let candidate = || featherwire::cluster::redis::Candidate {
        known_epoch: Some(epoch),
        ..super::candidate(1)
    };
    let standing = poll::find("the new primary is used", async || {
        redis.campaign(candidate()).await.ok()
    })
    .await;
    assert!(standing.just_elected && !standing.are_members_complete);
    assert!(standing.leader.unwrap().1 > epoch);
    let problem = problem_of(&format!("redis-sentinel://{hosts}/other")).await;
    assert!(
        problem.to_string().contains("no service other"),
        "{problem}"
    );
}

/// A node of a Redis Cluster, which has no keys yet, and its port for the other nodes.
async fn cluster_node() -> Option<(RedisServer, String)> {
    // The usual one, 10000 above the other, may be none.
    let port = free_port().await.to_string();
    let arguments = ["--cluster-enabled", "yes", "--cluster-port", &port];
    Some((RedisServer::start_with(&arguments).await?, port))
}

async fn cluster_is_ready(node: &RedisServer) {
    poll::until("the cluster is ready", async || {
        let info: String = node.command(&["CLUSTER", "INFO"]).await;
        info.contains("cluster_state:ok")
    })
    .await;
}

#[tokio::test]
async fn a_url_of_another_kind_of_redis_is_told_with_the_one_that_is_right() {
    let (Some(open), Some((first, _)), Some((second, second_bus))) = (
        RedisServer::start().await,
        cluster_node().await,
        cluster_node().await,
    ) else {
        return;
    };
    let locked = RedisServer::start_with(&["--requirepass", "s3cr3t"])
        .await
        .unwrap();
    let sentinel = RedisServer::start_with(&["--sentinel"]).await.unwrap();
    let at = |server: &RedisServer| format!("127.0.0.1:{}", server.port);
    let single = "is a single Redis, so the URL must begin with redis://";
    let of_sentinel =
        "is a Sentinel, so the URL must begin with redis-sentinel:// and end with /SERVICE";
    let of_cluster = "is a node of a Redis Cluster, so the URL must begin with redis-cluster://";
    // It has no keys, and may get some.
    let problem = problem_of(&format!("redis://{}", at(&first))).await;
    assert_eq!(problem.kind(), ProblemKind::Unreachable, "{problem}");
    assert!(
        problem.to_string().contains("begins with redis-cluster://"),
        "{problem}"
    );
    let () = first
        .command(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"])
        .await;
    let () = second
        .command(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"])
        .await;
    let port = second.port.to_string();
    let () = first
        .command(&["CLUSTER", "MEET", "127.0.0.1", &port, &second_bus])
        .await;
    cluster_is_ready(&first).await;
    cluster_is_ready(&second).await;
    for (url, words) in [
        (format!("redis-cluster://{}", at(&open)), single),
        (format!("redis-cluster://:s3cr3t@{}", at(&locked)), single),
        (format!("redis-sentinel://{}/main", at(&open)), single),
        (
            format!("redis-sentinel://:s3cr3t@{}/main/3", at(&open)),
            single,
        ),
        (format!("redis://{}", at(&sentinel)), of_sentinel),
        (format!("redis://:s3cr3t@{}/3", at(&sentinel)), of_sentinel),
        (format!("redis-cluster://{}", at(&sentinel)), of_sentinel),
        (format!("redis://{}", at(&first)), of_cluster),
        (format!("redis://{}", at(&second)), of_cluster),
        (format!("redis://{}/3", at(&second)), of_cluster),
        (format!("redis-sentinel://{}/main", at(&second)), of_cluster),
    ] {
        let problem = problem_of(&url).await;
        assert_eq!(problem.kind(), ProblemKind::NotRedis, "{url}: {problem}");
        assert!(problem.to_string().contains(words), "{url}: {problem}");
    }
    // A server with a password does not tell what it is.
    let problem = problem_of(&format!("redis-sentinel://:s3cr3t@{}/main", at(&locked))).await;
    assert_eq!(problem.kind(), ProblemKind::NotRedis, "{problem}");
    assert!(problem.to_string().contains("is no Sentinel"), "{problem}");
    let guarded = ["--sentinel", "--requirepass", "s3cr3t"];
    let guarded = RedisServer::start_with(&guarded).await.unwrap();
    let problem = problem_of(&format!("redis-sentinel://:s3cr3t@{}/main", at(&guarded))).await;
    assert_eq!(problem.kind(), ProblemKind::AccessDenied, "{problem}");
    assert!(
        problem.to_string().contains("a Sentinel must need none"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_redis_cluster_has_elections_and_messages_too() {
    let Some((server, _)) = cluster_node().await else {
        return;
    };
    let () = server
        .command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])
        .await;
    cluster_is_ready(&server).await;
    // The only node has all keys, so it does not matter how it is reached.
    connect(&server).await;
    let url = format!("redis-cluster://127.0.0.1:{}", server.port);
    let redis = Redis::connect(&url.parse().unwrap(), SPACE).await.unwrap();
    let epoch = elect(&redis, 1).await;
    let mut leader = redis.mailbox(Mailbox::Leader(epoch));
    // It waits in Redis, while commands go through.
    let (_, read) = tokio::join!(
        async { redis.to_leader(epoch, "asked".into()).await.unwrap() },
        leader.next()
    );
    assert_eq!(read.unwrap(), ["asked"]);
    let to = |member| {
        (
            featherwire::cluster::message::MemberId(member),
            "told".into(),
        )
    };
    let is_sent = redis.to_members(to(1).0, epoch, vec![to(2), to(3), to(2)]);
    assert!(is_sent.await.unwrap());
    let mut two = redis.mailbox(Mailbox::Member(to(2).0));
    assert_eq!(two.next().await.unwrap(), ["told", "told"]);
    redis.resign(to(1).0).await.unwrap();
    elect(&redis, 2).await;
}

#[tokio::test]
async fn what_is_no_redis_is_told_apart_from_one_that_is_away() {
    let http = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    for answer in [http, "+OK\r\n", "E\0\0\0\0", "$5\r\nhello\r\n"] {
        let address = answering(answer).await;
        let problem = problem_of(&format!("redis://{address}")).await;
        assert_eq!(problem.kind(), ProblemKind::NotRedis, "{answer}: {problem}");
        assert!(problem.to_string().contains("--redis-url"), "{problem}");
        let problem = problem_of(&format!("redis://u:s3cr3t@{address}")).await;
        assert!(
            !problem.kind().is_transient() || answer == "+OK\r\n",
            "{problem}"
        );
    }
    let away = problem_of(&format!("redis://:s3cr3t@127.0.0.1:{}", free_port().await)).await;
    assert_eq!(away.kind(), ProblemKind::Unreachable, "{away}");
    assert!(away.to_string().contains("Check that it runs"), "{away}");
    let silent = answering("").await;
    let problem = problem_of(&format!("redis://:s3cr3t@{silent}")).await;
    assert_eq!(problem.kind(), ProblemKind::Unreachable, "{problem}");
    assert!(problem.to_string().contains("does not answer"), "{problem}");
}

#[tokio::test]
async fn a_redis_that_is_too_old_is_told() {
    let old = answering("$41\r\n# Server\r\nredis_version:5.0.7\r\nos:Linux\r\n\r\n").await;
    let problem = problem_of(&format!("redis://{old}")).await;
    assert_eq!(problem.kind(), ProblemKind::TooOld, "{problem}");
    assert!(problem.to_string().contains("6.2"), "{problem}");
}

#[tokio::test]
async fn serve_refuses_a_redis_that_it_can_never_use_and_starts_without_one_that_is_away() {
    let closed = free_port().await;
    let serve = |url: &str| {
        let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
        command.env("FEATHERWIRE_REDIS_URL", url);
        command
    };
    let old = answering("$41\r\n# Server\r\nredis_version:5.0.7\r\nos:Linux\r\n\r\n").await;
    let http = answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let mut wrong = vec![
        ("redis://u:s3cr3t@h h".to_owned(), "host or its port"),
        ("http://u:s3cr3t@h".to_owned(), "no URL of Redis"),
        (format!("redis://{old}"), "too old"),
        (format!("redis://{http}"), "no Redis"),
    ];
    let server = RedisServer::start_with(&["--requirepass", "s3cr3t"]).await;
    if let Some(server) = &server {
        let with_another = format!("redis://:s3cr3t-2@127.0.0.1:{}", server.port);
        wrong.push((with_another, "refuses the user or the password"));
    }
    for (url, words) in wrong {
        let ended = run(&mut serve(&url)).await;
        assert_eq!(ended.code, Some(2), "{url}: {}", ended.err);
        let says = ended.err.contains(words) && ended.err.contains("--redis-url");
        assert!(
            says && !ended.err.contains("s3cr3t"),
            "{url}: {}",
            ended.err
        );
    }
    let url = format!("redis://:s3cr3t@127.0.0.1:{closed}");
    let (_gateway, address, mut log) = started(serve(&url)).await;
    let told = line_with(&mut log, |line| {
        line.contains("limits of keys are not shared")
    })
    .await;
    assert!(told.contains("Check that it runs"), "{told}");
    assert!(!told.contains("s3cr3t"), "{told}");
    let ready = http_client().get(format!("{address}/readyz")).send().await;
    assert_eq!(ready.unwrap().status(), 200);
}
