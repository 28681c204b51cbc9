//! A new configuration while messages flow.

use super::support::{AnyBroker, BOTH, Mosquitto, Peer, site};

/// Two pipelines; every window of the one that stays is counted while the other comes and goes.
#[tokio::test(flavor = "multi_thread")]
async fn the_other_pipelines_lose_nothing() {
    for broker in BOTH.map(AnyBroker::start) {
        nothing_is_lost(broker.port()).await;
    }
}

async fn nothing_is_lost(port: u16) {
    let second = |threshold: &str| {
        let (_, rest) = site::BEARING.split_once("[pipeline.bearing]").expect("a pipeline");
        let second = format!("[pipeline.bearing]{rest}")
            .replace("pipeline.bearing", "pipeline.second")
            .replace("/alarm", "/second")
            .replace("samples = 256", "samples = 256, step = 128")
            .replace("< 0.5", threshold);
        format!("{}{second}", site::BEARING)
    };
    let mut app = site::start(site::BEARING, port, &[]).await;
    let mut peer = Peer::connect("peer", port).await;
    peer.subscribe("plant/+/alarm").await;
    let mut published = 0;
    let configs = [second("< 0.5"), second("< 0.4"), site::BEARING.to_owned()];
    for round in 0..6 {
        for _ in 0..10 {
            published += 1;
            peer.publish("plant/a/vibration", site::window("outer_race", published)).await;
        }
        let config = site::parse(&configs[round % configs.len()], port, &[]).expect("config");
        app.reload(config).await.expect("reload");
    }
    for seq in 1..=published {
        assert_eq!(peer.next_json().await.1["origin"], format!("{seq}:bearing:fault"));
    }
    app.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_cannot_be_built_changes_nothing() {
    let broker = Mosquitto::start();
    let port = broker.port();
    let mut app = site::start(site::BEARING, port, &[]).await;
    for (wrong, named) in [
        (site::BEARING.replace("model  = \"bearing\"", "model  = \"absent\""), "absent"),
        (site::BEARING.replace("scores['healthy'] < 0.5", "scores['healthy'] <"), "fault"),
        (site::BEARING.replace("scores['healthy'] < 0.5", "scorez['healthy'] < 0.5"), "scorez"),
        (site::BEARING.replace("scores['healthy'] < 0.5", "scores['helthy'] < 0.5"), "helthy"),
    ] {
        let error = match site::parse(&wrong, port, &[]) {
            Ok(config) => app.reload(config).await.expect_err("refused").to_string(),
            Err(problems) => problems.to_string(),
        };
        assert!(error.contains(named), "{error}");
    }
    let mut peer = Peer::connect("peer", port).await;
    peer.subscribe("plant/+/alarm").await;
    peer.publish("plant/a/vibration", site::window("outer_race", 1)).await;
    assert_eq!(peer.next_json().await.1["rule"], "fault");
    app.drain().await;
}
