//! Layers of the configuration over the air.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_the_configuration_counts_at_once_and_goes_when_it_is_wrong() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let mut peer = Peer::connect("peer", site.broker.port()).await;
    peer.subscribe("plant/+/night").await;
    let traffic = Traffic::start(site.broker.port()).await;
    let rule = "[pipeline.bearing.rule.night]\nwhen = \"scores['healthy'] < 0.5\"\nuntil = \"true\"\n\
                do = [{ publish = { broker = \"local\", topic = \"plant/{key}/night\", qos = 1 } }]\n";
    site.keeper.release("config/rules/1.toml", rule.as_bytes(), json!({}));
    site.comes_to("config/rules/1.toml", "committed").await;
    within("a decision of the new rule", peer.next()).await;
    // A rule that asks for a class that the model has not, a word that there is not, and what is no release's matter.
    for (version, text, told) in [
        (2, rule.replace("healthy", "helthy"), "helthy"),
        (3, "[pipelin]\n".to_owned(), "pipelin"),
        (4, "[update]\nurl = \"http://127.0.0.1:1\"\n".to_owned(), "a matter of the device"),
        // Right by itself, and nothing flows any more.
        (
            5,
            "[mqtt.local]\nurl = \"mqtt://127.0.0.1:1\"\n".to_owned(),
            "connection local is not well",
        ),
    ] {
        let release = format!("config/rules/{version}.toml");
        site.keeper.release(&release, text.as_bytes(), json!({}));
        let found = site.comes_to(&release, "rolled back").await;
        let reason = found["reason"].as_str().expect("a reason");
        assert!(reason.contains(told), "{reason}");
    }
    // The first is back.
    for _ in 0..peer.pending() {
        peer.next().await;
    }
    within("a decision of the rule that was before", peer.next()).await;
    drop(traffic);
}

/// Everything is well, and nobody publishes where it listens now.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_after_which_no_message_comes_any_more_goes_back() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    let mut peer = Peer::connect("peer", site.broker.port()).await;
    peer.subscribe("plant/+/alarm").await;
    let _traffic = Traffic::start(site.broker.port()).await;
    // So long it is looked how they come.
    tokio::time::sleep(Duration::from_secs(45)).await;
    let topic = "input = { mqtt = { broker = \"local\", topic = \"plnat/+/vibration\" } }";
    let layer = format!("[pipeline.bearing]\n{topic}\n");
    site.keeper.release("config/topics/1.toml", layer.as_bytes(), json!({}));
    let found = site.comes_to("config/topics/1.toml", "rolled back").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("pipeline bearing has had no message for"), "{reason}");
    for _ in 0..peer.pending() {
        peer.next().await;
    }
    within("a decision again", peer.next()).await;
}

/// It went back for it, everywhere that somebody had just changed what only a start takes over.
#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_not_to_blame_for_a_change_of_the_device_that_needs_a_start() {
    let mut site = Site::new("");
    let mut process = site.run();
    process.says("started").await;
    site.set("probation = \"2s\"", "probation = \"3s\"");
    let rule = "[pipeline.bearing.rule.night]\nwhen = \"scores['healthy'] < 0.5\"\n";
    site.keeper.release("config/rules/1.toml", rule.as_bytes(), json!({}));
    site.waits("config/rules/1.toml", "waits for the device's own configuration").await;
    process.signal("TERM");
    process.ended().await;
    let _process = site.run();
    site.comes_to("config/rules/1.toml", "committed").await;
}
