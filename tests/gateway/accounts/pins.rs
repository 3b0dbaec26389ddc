//! Keys that may use only some accounts, and the views of the accounts that operators have.

use featherwire::{
    config::Account,
    proto::v1::account_service_client::AccountServiceClient,
    proto::v1::{CircuitState, GetConcurrencyRequest, WatchConcurrencyRequest},
};
use serde_json::{Value, json};
use tokio::process::Child;

use super::{account, fixed, gateway, upstream, wait_for_plans};
use crate::{
    configuration_file::folder,
    key_limits::{channel, json_of, post, with_secret},
    keys::text,
    support::{
        Database, Door, Emulator, MODEL, Scripted,
        door::message,
        program::{Folder, featherwire, run, started},
        prompt,
        rest::http,
        scripted::{answer_for, refused},
    },
};
use featherwire::proto::v1::chat_service_client::ChatServiceClient;

/// A gateway with the accounts `first` and `second`, which each have a model of their own.
struct Served {
    database: Database,
    address: String,
    first: Scripted,
    second: Scripted,
    folder: Folder,
    _child: Child,
}

impl Served {
    async fn start() -> Self {
        let (first, second) = (
            upstream(answer_for(Door::RestUnary)).await,
            upstream(answer_for(Door::RestUnary)).await,
        );
        for (upstream, own) in [(&first, "first/own"), (&second, "second/own")] {
            let models = json!([{"id": MODEL}, {"id": own}]);
            upstream.set_catalogue(json!({"object": "list", "data": models}));
        }
        let table = |name: &str, upstream: &Scripted| {
            let address = upstream.address;
            format!(
                "[[account]]\nname = '{name}'\nfeatherless_base_url = \
                 'http://{address}/v1'\nunits = 8\n"
            )
        };
        let toml = [table("first", &first), table("second", &second)].concat();
        let folder = folder(format!("listen = '127.0.0.1:0'\n{toml}"));
        let database = Database::sqlite();
        // Without a key the gateway would be open to all callers.
        database.keys_json(&["create", "--name", "other"]).await;
        let mut command = featherwire(&["serve", "--config", "fw.toml"]);
        command
            .env("FEATHERWIRE_DATABASE_URL", &database.url)
            .current_dir(&folder.0);
        let (child, address, _) = started(command).await;
        Self {
            database,
            address,
            first,
            second,
            folder,
            _child: child,
        }
    }

    /// The secret of a new key with these flags.
    async fn key(&self, name: &str, flags: &[&str]) -> String {
        let create = ["create", "--name", name];
        let arguments: Vec<_> = create.iter().chain(flags).copied().collect();
        let key = self.database.keys_json(&arguments).await;
        let secret = text(&key, "secret").to_owned();
        crate::keys::until_status(&self.address, Some(&secret), 200).await;
        secret
    }

    async fn get(&self, secret: &str, path: &str) -> (u16, Value) {
        let get = http().get(format!("{}{path}", self.address));
        json_of(get.bearer_auth(secret).send().await.unwrap()).await
    }

    async fn models(&self, secret: &str) -> Vec<String> {
        let (_, list) = self.get(secret, "/v1/models").await;
        let models = list["data"].as_array().unwrap().iter();
        models.map(|model| text(model, "id").to_owned()).collect()
    }
}

#[tokio::test]
async fn a_key_uses_and_sees_only_its_accounts() {
    let served = Served::start().await;
    let pinned = served.key("pinned", &["--accounts", "second"]).await;
    let asked = served.first.models().len();
    for _ in 0..3 {
        let answer = post(&served.address, &pinned, prompt(MODEL, "hi"), &[]).await;
        assert_eq!(answer.status(), 200);
    }
    let mut chat = ChatServiceClient::new(channel(&served.address).await);
    let ask = with_secret(message(&prompt(MODEL, "hi")), &pinned);
    chat.create_chat_completion(ask).await.unwrap();
    assert_eq!(
        served.first.models().len(),
        asked,
        "only the other account is asked"
    );
    assert!(served.second.models().len() >= 4);
    assert_eq!(served.models(&pinned).await, [MODEL, "second/own"]);
    let (status, _) = served.get(&pinned, "/v1/models/second/own").await;
    assert_eq!(status, 200);
    let unknown = refused(404, "model_not_found", "The model does not exist");
    served.second.set_reply(unknown);
    let (status, answer) = served.get(&pinned, "/v1/models/first/own").await;
    assert_eq!(status, 404, "{answer}");
    let free = served.key("free", &[]).await;
    let (status, _) = served.get(&free, "/v1/models/first/own").await;
    assert_eq!(status, 200);
    assert_eq!(
        served.models(&free).await,
        [MODEL, "first/own", "second/own"]
    );
    // Two accounts, of which one is not there, are as good as the other.
    let both = served.key("both", &["--accounts", "gone,first"]).await;
    assert_eq!(served.models(&both).await, [MODEL, "first/own"]);
}

#[tokio::test]
async fn a_key_sees_the_units_of_its_accounts_only() {
    let served = Served::start().await;
    let pinned = served.key("pinned", &["--accounts", "second"]).await;
    let free = served.key("free", &[]).await;
    for (secret, names, capacity) in [
        (&pinned, vec!["second"], 8),
        (&free, vec!["first", "second"], 16),
    ] {
        let (status, units) = served.get(secret, "/v1/concurrency").await;
        assert_eq!(
            (status, &units["gateway"]["capacity"]),
            (200, &json!(capacity))
        );
        let accounts = units["accounts"].as_array().unwrap().iter();
        let shown: Vec<_> = accounts.map(|account| text(account, "name")).collect();
        assert_eq!(shown, names);
        let (status, plan) = served.get(secret, "/v1/plan?account=first").await;
        assert_eq!(status == 400, names.len() == 1, "{plan}");
        let mut client = AccountServiceClient::new(channel(&served.address).await);
        let watch = with_secret(WatchConcurrencyRequest::default(), secret);
        let mut watch = client.watch_concurrency(watch).await.unwrap().into_inner();
        let units = watch.message().await.unwrap().unwrap();
        let shown: Vec<_> = units.accounts.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(shown, names);
    }
}

#[tokio::test]
async fn calls_of_a_key_whose_accounts_are_gone_say_so_until_it_is_changed() {
    let served = Served::start().await;
    let secret = served.key("app", &[]).await;
    let update = ["update", "app", "--accounts", "gone"];
    let key = served.database.keys_json(&update).await;
    assert_eq!(key["limits"]["accounts"], json!(["gone"]));
    crate::keys::until_status(&served.address, Some(&secret), 503).await;
    let answer = post(&served.address, &secret, prompt(MODEL, "hi"), &[]).await;
    let (status, error) = json_of(answer).await;
    let error = &error["error"];
    assert_eq!((status, text(error, "code")), (503, "bad_configuration"));
    let says = text(error, "message");
    assert!(
        says.contains("key app") && says.contains("accounts gone"),
        "{says}"
    );
    let shown = served.database.keys(&["show", "app"]).await;
    assert!(shown.out.contains("gone"), "{}", shown.out);
    let clear = ["update", "app", "--clear", "accounts"];
    served.database.keys_json(&clear).await;
    crate::keys::until_status(&served.address, Some(&secret), 200).await;
}

/// What `featherwire keys` tells on standard error, in the folder of the gateway's file.
async fn told_by_keys(served: &Served, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = featherwire(&["keys"]);
    command
        .args(arguments)
        .env("FEATHERWIRE_DATABASE_URL", &served.database.url)
        .envs(environment.iter().copied())
        .current_dir(&served.folder.0);
    let ended = run(&mut command).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.err);
    ended.err
}

#[tokio::test]
async fn accounts_that_the_gateway_does_not_have_are_told_and_accepted() {
    let served = Served::start().await;
    let (of_file, of_gateway) = ("The configuration file", "This gateway");
    let says = |told: &str, place: &str| {
        let note = format!(
            "{place} does not have these accounts of the key: secnd, third. It has first, second."
        );
        assert!(told.contains(&note), "{told}");
    };
    let silent = |told: &str| assert!(!told.contains("does not have"), "{told}");
    let file: &[_] = &[("FEATHERWIRE_CONFIG", "fw.toml")];
    let (wrong, right) = ("secnd,first,third", "second,first");
    let create = ["create", "--name", "a", "--accounts", wrong];
    says(&told_by_keys(&served, &create, file).await, of_file);
    // Without the file, the command knows no accounts.
    let update = ["update", "a", "--accounts", wrong];
    silent(&told_by_keys(&served, &update, &[]).await);
    says(&told_by_keys(&served, &update, file).await, of_file);
    silent(&told_by_keys(&served, &["update", "a", "--owner", "o"], file).await);
    silent(&told_by_keys(&served, &["update", "a", "--accounts", right], file).await);

    // A gateway that is asked says it itself.
    let root = ["create", "--name", "root", "--admin", "admin"];
    let root = served.database.keys_json(&root).await;
    let secret = text(&root, "secret");
    crate::keys::until_status(&served.address, Some(secret), 403).await;
    let admin = [
        ("FEATHERWIRE_CONFIG", "fw.toml"),
        ("FEATHERWIRE_ADMIN_KEY", secret),
    ];
    for (name, accounts) in [("b", wrong), ("c", right)] {
        let create = ["create", "--name", name, "--accounts", accounts];
        let create = [&create[..], &["--gateway", &served.address]].concat();
        let told = told_by_keys(&served, &create, &admin).await;
        match accounts == wrong {
            true => says(&told, of_gateway),
            false => silent(&told),
        }
    }
}

#[tokio::test]
async fn each_account_has_its_own_view_beside_the_sum() {
    let emulator = Emulator::start().await;
    let refusing = upstream(refused(401, "", "Invalid API key")).await;
    refusing.set_catalogue(json!({"object": "list", "data": [{"id": MODEL}]}));
    let preferred = Account {
        weight: 100,
        ..fixed("refused", refusing.address, 3)
    };
    let gateway = gateway([preferred, account("works", emulator.address)]).await;
    wait_for_plans(&gateway, &[("works", 8.0)]).await;
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    let mut client = AccountServiceClient::new(gateway.channel().await);
    let now = client
        .get_concurrency(GetConcurrencyRequest::default())
        .await;
    let now = now.unwrap().into_inner();
    let watch = client.watch_concurrency(WatchConcurrencyRequest::default());
    let mut watch = watch.await.unwrap().into_inner();
    let next = watch.message().await.unwrap().unwrap();
    for units in [now, next] {
        let all = units.gateway.as_ref().unwrap().capacity;
        assert_eq!((all, units.accounts.len()), (Some(11), 2));
        let [refused, works] = &units.accounts[..] else {
            panic!("{units:?}");
        };
        assert_eq!((&*refused.name, &*works.name), ("refused", "works"));
        assert_eq!(refused.refused(), CircuitState::Open);
        assert_eq!(refused.error_code, "featherless_api_key_rejected");
        assert!(refused.open_for_ms.is_some_and(|left| left <= 10_000));
        assert_eq!(works.refused(), CircuitState::Unspecified);
        let capacity = |account: &featherwire::proto::v1::AccountUnits| {
            account.gateway.as_ref().unwrap().capacity
        };
        assert_eq!((capacity(refused), capacity(works)), (Some(3), Some(8)));
    }
    let (_, units) = gateway.get_json("/v1/concurrency").await;
    assert_eq!(units["accounts"][1]["name"], "works");
    // One account is as it was.
    let single = crate::support::Gateway::to(emulator.address).await;
    let (_, units) = single.get_json("/v1/concurrency").await;
    assert_eq!(units.get("accounts"), None, "{units}");
}
