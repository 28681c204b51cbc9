//! Two clients of one name.

use std::time::Duration;

use eir::mqtt::LinkState;

use super::EVERY;
use super::faults::{accept, listen};
use crate::support::broker::AnyBroker;
use crate::support::mqtt::{Client, config};

const ADVICE: &str =
    "another client connected as `eir-device-twin`: give each device its own [device].id";

fn says(state: &LinkState, text: &str) -> bool {
    matches!(state, LinkState::Connecting { last_error: Some(e), .. } if e.contains(text))
}

#[tokio::test]
async fn whoever_is_thrown_out_by_a_client_of_the_same_name_says_so() {
    for (kind, version) in EVERY {
        let broker = AnyBroker::start(kind);
        let mut config = config(&broker.url(), version);
        // Long enough to be seen before the next attempt, and to see it again soon.
        config.backoff.first = Duration::from_millis(200);
        config.backoff.max = Duration::from_millis(200);
        let first = Client::up("twin", &config, &[]).await;
        let second = Client::start("twin", &config);
        first.wait(|state| says(state, ADVICE)).await;
        first.stop().await;
        second.stop().await;
    }
}

#[tokio::test]
async fn a_broker_that_closes_early_again_and_again_is_explained() {
    let (listener, config) = listen().await;
    let client = Client::start("twin", &config);
    drop(accept(&listener, false).await);
    let closed = client.wait(|state| says(state, "closed")).await;
    assert!(!says(&closed, ADVICE), "{closed:?}");
    for _ in 0..2 {
        drop(accept(&listener, false).await);
    }
    client.wait(|state| says(state, ADVICE)).await;
    client.stop().await;
}
