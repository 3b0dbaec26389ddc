//! A revocation that also ends the running calls of a key.

use featherwire::proto::v1::chat_service_client::ChatServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    key_limits::{channel, json_of, post, with_secret},
    keys::{serve, text},
    support::{Database, MODEL, door::message, poll, prompt, rest::http},
};

/// The units in use, which another key asks for.
async fn used_units(address: &str, secret: &str) -> Option<u64> {
    let answer = http()
        .get(format!("{address}/v1/concurrency"))
        .bearer_auth(secret)
        .send()
        .await
        .unwrap();
    json_of(answer).await.1["used_cost"].as_u64()
}

#[tokio::test]
async fn running_calls_end_at_every_door_if_a_revocation_cuts_them_and_only_then() {
    for database in Database::each().await {
        let slow = [("FEATHERWIRE_EMULATOR_TOKENS_PER_SECOND", "2")];
        let leaked = database.keys_json(&["create", "--name", "leaked"]).await;
        let other = database.keys_json(&["create", "--name", "other"]).await;
        let (leaked, other) = (text(&leaked, "secret"), text(&other, "secret"));
        let (_child, address) = serve(&database, &slow).await;
        let address = address.as_str();
        let mut request = prompt(MODEL, "hi");
        request["max_tokens"] = 1000.into();
        let mut streamed = request.clone();
        streamed["stream"] = true.into();

        let mut rest = post(address, leaked, streamed.clone(), &[]).await;
        assert!(rest.chunk().await.unwrap().is_some());
        let mut of_other = post(address, other, streamed, &[]).await;
        assert!(of_other.chunk().await.unwrap().is_some());
        let mut client = ChatServiceClient::new(channel(address).await);
        let grpc = client.stream_chat_completion(with_secret(message(&request), leaked));
        let mut grpc = grpc.await.unwrap().into_inner();
        assert!(grpc.message().await.unwrap().is_some());
        // These wait for units or for a complete answer.
        let unary = tokio::spawn({
            let (address, leaked) = (address.to_owned(), leaked.to_owned());
            async move { json_of(post(&address, &leaked, request, &[]).await).await }
        });

        let revoked = database.keys(&["revoke", "leaked"]).await;
        assert_eq!(revoked.code, Some(0), "{}", revoked.err);
        poll::until("the key is revoked", async || {
            used_units(address, leaked).await.is_none()
        })
        .await;
        assert!(rest.chunk().await.unwrap().is_some(), "the stream goes on");
        assert!(grpc.message().await.unwrap().is_some());

        let cut = database.keys(&["revoke", "leaked", "--cut-calls"]).await;
        assert_eq!(cut.code, Some(0), "{}", cut.err);
        let mut events = String::new();
        while let Some(chunk) = rest.chunk().await.unwrap() {
            events.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        let last = events.trim_end().lines().next_back().unwrap();
        let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "invalid_api_key", "{events}");
        let status = loop {
            match grpc.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a stream that was cut does not look complete"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().contains("revoked"), "{}", status.message());
        let (status, body) = unary.await.unwrap();
        assert_eq!(
            (status, &body["error"]["code"]),
            (401, &json!("invalid_api_key"))
        );

        // The calls of other keys go on, and only their units are in use.
        assert!(of_other.chunk().await.unwrap().is_some());
        drop(of_other);
        poll::until("all units are back", async || {
            used_units(address, other).await == Some(0)
        })
        .await;
    }
}
