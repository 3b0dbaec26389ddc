//! What the ledger tells of the accounts that calls used.

use featherwire::{
    config::Account,
    error::Kind,
    ledger::{Ending, UsageQuery},
};
use serde_json::json;

use super::{emulator, fixed, gateway_with, upstream};
use crate::{
    ledger::Book,
    support::{
        Door, MODEL, prompt,
        scripted::{answer_for, refused},
    },
};

/// The number of calls of each account.
async fn calls_by_account(book: &Book) -> Vec<(String, u64)> {
    let mut query = UsageQuery::default();
    query.grouping.by_account = true;
    let rows = book.queries.usage(&query).await.unwrap().into_iter();
    rows.map(|row| (row.account.unwrap(), row.sums.calls))
        .collect()
}

#[tokio::test]
async fn a_record_has_the_account_that_served_the_call() {
    let book = Book::new().await;
    let (small, large) = (emulator(8, 1e4).await, emulator(8, 1e4).await);
    let preferred = Account {
        weight: 100,
        ..fixed("preferred", large.address, 8)
    };
    let gateway = gateway_with(
        [fixed("other", small.address, 8), preferred],
        book.writer.ledger(),
    )
    .await;
    for (number, door) in Door::ALL.into_iter().enumerate() {
        gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
        let records = book.records(number + 1).await;
        assert_eq!(&*records.last().unwrap().account, "preferred", "{door:?}");
    }
    // It asks no account.
    let wrong = json!({"model": MODEL, "messages": []});
    let answer = gateway.ask(Door::RestUnary, &wrong).await;
    answer.failed(Kind::Invalid, "invalid_value");
    let records = book.records(Door::ALL.len() + 1).await;
    assert_eq!(&*records.last().unwrap().account, "");
    assert_eq!(
        calls_by_account(&book).await,
        [(String::new(), 1), ("preferred".to_owned(), 8)]
    );
}

#[tokio::test]
async fn a_call_that_one_account_refuses_is_of_the_account_that_served_it() {
    for door in Door::ALL {
        let book = Book::new().await;
        let refusing = upstream(refused(401, "invalid_api_key", "Invalid API key")).await;
        let working = upstream(answer_for(door)).await;
        let preferred = Account {
            weight: 100,
            ..fixed("refused", refusing.address, 8)
        };
        let accounts = [preferred, fixed("works", working.address, 8)];
        let gateway = gateway_with(accounts, book.writer.ledger()).await;
        gateway.ask(door, &prompt(MODEL, "hi")).await.ok();
        let records = book.records(1).await;
        assert_eq!(
            (&*records[0].account, records[0].ending),
            ("works", Ending::Finished),
            "{door:?}"
        );
        assert_eq!(refusing.models().len(), 1, "{door:?}");
        // A failure is of the account that was asked last.
        working.set_reply(refused(400, "", "We do not answer this"));
        let answer = gateway.ask(door, &prompt(MODEL, "hi")).await;
        assert!(answer.failure.is_some(), "{door:?}");
        let records = book.records(2).await;
        assert_eq!(
            (&*records[1].account, records[1].ending),
            ("works", Ending::Failed),
            "{door:?}"
        );
    }
}

#[tokio::test]
async fn calls_of_a_gateway_with_one_account_have_no_account() {
    let book = Book::new().await;
    let working = upstream(answer_for(Door::RestUnary)).await;
    let accounts = [fixed("only", working.address, 8)];
    let gateway = gateway_with(accounts, book.writer.ledger()).await;
    gateway
        .ask(Door::RestUnary, &prompt(MODEL, "hi"))
        .await
        .ok();
    assert_eq!(&*book.records(1).await[0].account, "");
    assert_eq!(calls_by_account(&book).await, [(String::new(), 1)]);
}
