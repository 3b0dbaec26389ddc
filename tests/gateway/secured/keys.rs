//! Keys of the database that certificates stand for: limits, ends and roles.

use featherwire::proto::admin::v1::{ListKeysRequest, key_service_client::KeyServiceClient};
use serde_json::{Value, json};
use tokio::process::Child;
use tonic::{Code, transport::Endpoint};

use crate::support::{
    Database, MODEL,
    certificates::{Authority, Credentials, Files},
    poll,
    program::{featherwire, started},
    prompt,
};

pub struct Program {
    _child: Child,
    pub address: String,
    administration: Option<String>,
    database: Database,
    pub authority: Authority,
    pub files: Files,
}

impl Program {
    /// A gateway with these keys of the database, each with its flags, and these options.
    pub async fn with(keys: &[&[&str]], callers: &Authority, more: &[(&str, &str)]) -> Self {
        let (database, authority) = (Database::sqlite(), Authority::new());
        let files = Files::of(&authority.server("gateway"));
        for flags in keys {
            let create: Vec<_> = ["create"].iter().chain(*flags).copied().collect();
            database.keys_json(&create).await;
        }
        let options = files.options_with_client_ca(callers);
        let mut command = featherwire(&["serve", "--listen", "127.0.0.1:0", "--emulator"]);
        command
            .env("FEATHERWIRE_DATABASE_URL", &database.url)
            .env("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "0")
            .env("FEATHERWIRE_TLS_CERT", options.tls_cert.unwrap())
            .env("FEATHERWIRE_TLS_KEY", options.tls_key.unwrap())
            .env("FEATHERWIRE_TLS_CLIENT_CA", options.tls_client_ca.unwrap())
            .envs(more.iter().copied());
        let has_admin = more
            .iter()
            .any(|(name, _)| *name == "FEATHERWIRE_ADMIN_LISTEN");
        let (child, address, mut log) = started(command).await;
        let administration = match has_admin {
            true => loop {
                let line = log.recv().await.unwrap();
                if let Some((_, url)) = line.split_once("administration: ") {
                    break Some(url.to_owned());
                }
            },
            false => None,
        };
        assert!(address.starts_with("https://"), "{address}");
        Self {
            _child: child,
            address,
            administration,
            database,
            authority,
            files,
        }
    }

    /// The status and the message of a call of a model.
    async fn call(&self, caller: &Credentials) -> (u16, String) {
        let post = caller
            .http()
            .post(format!("{}/v1/chat/completions", self.address))
            .header("content-type", "application/json")
            .body(prompt(MODEL, "hi").to_string());
        answer(post).await
    }

    async fn until_status(&self, caller: &Credentials, status: u16) -> String {
        let what = format!("a call gets {status}");
        poll::find(&what, async || {
            let (now, message) = self.call(caller).await;
            (now == status).then_some(message)
        })
        .await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    (status, message.to_owned())
}

#[tokio::test]
async fn a_certificate_can_do_what_its_key_can_and_no_more() {
    let callers = Authority::new();
    let limited = ["--name", "app", "--requests-per-minute", "2"];
    let certificates = ("FEATHERWIRE_TLS_CLIENT_KEYS", "cn:app=app,cn:new=new");
    let program = Program::with(&[&limited], &callers, &[certificates]).await;
    let app = program
        .authority
        .trusted()
        .with(&callers.caller("app", vec![]));
    assert_eq!(program.call(&app).await.0, 200);
    assert_eq!(program.call(&app).await.0, 200);
    let (status, message) = program.call(&app).await;
    assert_eq!(status, 429, "{message}");

    // A key that is made while the gateway runs.
    let new = program
        .authority
        .trusted()
        .with(&callers.caller("new", vec![]));
    assert_eq!(program.call(&new).await.0, 401);
    let keys = async |arguments: &[&str]| program.database.keys_json(arguments).await;
    keys(&["create", "--name", "new"]).await;
    program.until_status(&new, 200).await;
    keys(&["update", "new", "--disable"]).await;
    let message = program.until_status(&new, 401).await;
    assert!(message.contains("is disabled"), "{message}");
    keys(&["update", "new", "--enable"]).await;
    program.until_status(&new, 200).await;
    keys(&["revoke", "new"]).await;
    let message = program.until_status(&new, 401).await;
    assert!(message.contains("was revoked"), "{message}");
    // Another key with the name takes the place of the revoked one, and two leave a doubt.
    keys(&["create", "--name", "new"]).await;
    program.until_status(&new, 200).await;
    keys(&["create", "--name", "new"]).await;
    let message = program.until_status(&new, 401).await;
    assert!(message.contains("several keys"), "{message}");
}

#[tokio::test]
async fn a_certificate_manages_keys_only_where_the_option_for_administrators_says_so() {
    let (callers, administrators) = (Authority::new(), Authority::new());
    let keys: [&[&str]; 3] = [
        &["--name", "app"],
        &["--name", "root", "--admin", "admin"],
        &["--name", "auditor", "--admin", "viewer"],
    ];
    let folder = Files::of(&callers.server("unused"));
    let admin_ca = folder.write("admin-ca.crt", &administrators.pem);
    let options = [
        ("FEATHERWIRE_ADMIN_LISTEN", "127.0.0.1:0"),
        (
            "FEATHERWIRE_ADMIN_TLS_CLIENT_CA",
            admin_ca.to_str().unwrap(),
        ),
        ("FEATHERWIRE_TLS_CLIENT_KEYS", "cn:app=app,cn:sly=root"),
        (
            "FEATHERWIRE_ADMIN_TLS_CLIENT_KEYS",
            "cn:ops=root,cn:audit=auditor,cn:odd=app",
        ),
    ];
    let program = Program::with(&keys, &callers, &options).await;
    let administration = program.administration.clone().unwrap();
    assert!(administration.starts_with("https://"), "{administration}");
    let caller = |authority: &Authority, name: &str| {
        program
            .authority
            .trusted()
            .with(&authority.caller(name, vec![]))
    };
    let list = |caller: &Credentials| caller.http().get(format!("{administration}/admin/v1/keys"));
    let create = |caller: &Credentials| {
        let post = caller
            .http()
            .post(format!("{administration}/admin/v1/keys"));
        let body = json!({"name": "made", "role": "KEY_ROLE_INFERENCE"});
        post.header("content-type", "application/json")
            .body(body.to_string())
    };
    let ops = caller(&administrators, "ops");
    assert_eq!(answer(list(&ops)).await.0, 200);
    assert_eq!(answer(create(&ops)).await.0, 200);
    let auditor = caller(&administrators, "audit");
    assert_eq!(answer(list(&auditor)).await.0, 200);
    let list_by_grpc = async |caller: &Credentials| {
        let endpoint = Endpoint::from_shared(administration.clone()).unwrap();
        let endpoint = endpoint.tls_config(caller.tonic()).unwrap();
        let mut client = KeyServiceClient::new(endpoint.connect().await.unwrap());
        client.list_keys(ListKeysRequest::default()).await
    };
    for caller in [&ops, &auditor] {
        let listed = list_by_grpc(caller).await.unwrap().into_inner().keys;
        assert_eq!(listed.len(), keys.len() + 1, "with the one that was made");
    }
    let (status, message) = answer(create(&auditor)).await;
    assert!(status == 403 && message.contains("viewer"), "{message}");
    let sly = caller(&administrators, "sly");
    let refused = list_by_grpc(&sly).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // A key for models does not become one for administrators, nor the other way round.
    for (authority, name) in [(&administrators, "odd"), (&administrators, "sly")] {
        let (status, message) = answer(list(&caller(authority, name))).await;
        assert_eq!(status, 401, "{name}: {message}");
    }
    let (status, message) = answer(list(&caller(&administrators, "app"))).await;
    assert!(
        status == 403 && message.contains("manages nothing"),
        "{message}"
    );
    let (status, message) = program.call(&caller(&callers, "sly")).await;
    assert!(
        status == 401 && message.contains("no key with the name"),
        "{message}"
    );
    assert_eq!(program.call(&caller(&callers, "app")).await.0, 200);
    // Each listener has its own authority.
    assert!(list(&caller(&callers, "ops")).send().await.is_err());
    let refused = caller(&administrators, "app").http().get(&program.address);
    assert!(refused.send().await.is_err());
}
