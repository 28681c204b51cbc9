//! The inputs of samples, uploaded to a server that fails in its own ways.

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use eir::event::ByteSize;
use eir::outbox::Lane;
use eir::sync::TusUplink;

use super::tus::{Shelf, Upload, Whim, header};
use super::*;

/// A picture of about so many bytes.
fn picture(length: usize) -> Vec<u8> {
    let bytes = (0..=u8::MAX).flat_map(|at| [at, at.wrapping_mul(7), at ^ 0x55]).cycle().skip(1);
    [0xFF, 0xD8, 0xFF].into_iter().chain(bytes.take(length)).collect()
}

impl Device {
    fn with_uploads() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("outbox.db");
        let config = OutboxConfig { path, ..OutboxConfig::default() };
        let main = name("main");
        let lanes = vec![Lane::Records(main.clone()), Lane::Samples(main)];
        let outbox = Outbox::start(&config, name("press-07"), lanes, Arc::new(SystemClock));
        Self { outbox, _directory: directory }
    }

    /// Takes in a sample; the id of its record.
    async fn sample(&self, bytes: &[u8]) -> String {
        let body = serde_json::json!({
            "pipeline": "parts", "stream": "line-1", "sampler": "hard", "model": "defects", "version": 1,
            "prediction": { "task": "detection" },
            "input": { "content_type": "image/jpeg", "base64": STANDARD.encode(bytes) }
        });
        self.take(Kind::Sample, &body.to_string()).await
    }

    /// Starts to send; what is remembered of an upload goes to `memory`, and comes from there.
    fn upload(&self, config: &CloudConfig, memory: &Arc<Mutex<String>>) -> Sync {
        let begun = memory.lock().expect("memory").clone();
        let kept = Arc::clone(memory);
        let remember = move |upload| *kept.lock().expect("memory") = upload;
        let uplink = TusUplink::new(config, Some(&begun), remember).expect("an uplink");
        let samples = self.outbox.reader(Lane::Samples(name("main")));
        self.sync("main", config).with_samples(config, uplink, samples)
    }
}

fn both(cloud: &Cloud, tus: &Tus) -> CloudConfig {
    CloudConfig {
        samples: Some(tus.url()),
        max_batch: Some(ByteSize(32 << 10)),
        ..config(&cloud.url())
    }
}

async fn with(whim: impl FnMut(&Asked, &mut Shelf) -> Option<Answer> + Send + 'static) -> Tus {
    let whim: Whim = Box::new(whim);
    Tus::start(whim).await
}

fn memory() -> Arc<Mutex<String>> {
    Arc::default()
}

async fn until_samples(sync: &Sync, what: &str, met: impl Fn(&CloudStatus) -> bool) -> CloudStatus {
    let mut watch = sync.watch_samples().expect("a way for samples");
    within(what, watch.wait_for(|status| met(status))).await.expect("a status").clone()
}

/// A picture arrives whole, whatever the server does with its parts.
async fn arrives(device: Device, cloud: &Cloud, tus: &Tus) {
    let bytes = picture(100_000);
    device.sample(&bytes).await;
    let sync = device.upload(&both(cloud, tus), &memory());
    let uploads = tus.holds(1).await;
    assert!(only(&uploads).bytes == bytes);
    device.holds(0).await;
    sync.stop(Duration::from_secs(5)).await;
}

fn is_piece(asked: &Asked) -> bool {
    asked.raw.starts_with("PATCH")
}

fn only(uploads: &[Upload]) -> &Upload {
    assert_eq!(uploads.len(), 1);
    &uploads[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_a_file_in_pieces_and_a_record_that_names_it() {
    let (device, cloud, tus) =
        (Device::with_uploads(), Cloud::start(|_| OK).await, Tus::right().await);
    let bytes = picture(100_000);
    let id = device.sample(&bytes).await;
    let sync = device.upload(&both(&cloud, &tus), &memory());
    let uploads = tus.holds(1).await;
    let Upload { metadata, pieces, bytes: arrived, .. } = only(&uploads);
    assert!(*arrived == bytes && *pieces == 4, "{} bytes in {pieces} pieces", arrived.len());
    let told: Vec<_> = metadata.iter().map(|(key, value)| (&**key, &**value)).collect();
    let file = format!("{id}.jpg");
    let wanted = [
        ("device", "press-07"),
        ("filename", &file),
        ("filetype", "image/jpeg"),
        ("pipeline", "parts"),
        ("sampler", "hard"),
    ];
    assert_eq!(told, wanted);
    cloud.accepts(1).await;
    let asked = cloud.asked();
    let body = &asked[0].records[0]["body"];
    let input =
        serde_json::json!({ "content_type": "image/jpeg", "bytes": bytes.len(), "upload": file });
    assert_eq!((&body["input"], &body["prediction"]["task"]), (&input, &"detection".into()));
    device.holds(0).await;
    let status = until_samples(&sync, "a count", |status| status.records == 1).await;
    assert_eq!((status.failures, status.sent_bytes), (0, bytes.len() as u64));
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_before_a_break_is_not_sent_again() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let mut pieces = 0;
    let tus = with(move |asked, shelf| {
        // Of every second piece a part arrives, and no answer goes back.
        pieces += usize::from(is_piece(asked));
        (is_piece(asked) && pieces % 2 == 0).then(|| {
            shelf.newest().append(asked, 10_000);
            Answer::Reset
        })
    });
    let tus = tus.await;
    let bytes = picture(150_000);
    device.sample(&bytes).await;
    let sync = device.upload(&both(&cloud, &tus), &memory());
    let uploads = tus.holds(1).await;
    assert!(only(&uploads).bytes == bytes);
    device.holds(0).await;
    let asked = tus.cloud().asked();
    let sent: usize = asked.iter().map(|asked| asked.body.len()).sum();
    // What was lost on the way is all that went twice.
    assert!(sent < 2 * bytes.len(), "{sent}");
    assert_eq!(asked.iter().filter(|asked| asked.raw.starts_with("POST")).count(), 1);
    sync.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_with_the_upload_that_was_under_way() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let open = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let tus = with(move |asked, shelf| {
        let closed = !is_open.load(std::sync::atomic::Ordering::Relaxed);
        (closed && is_piece(asked) && shelf.newest().pieces >= 2).then_some(Answer::Silence)
    });
    let tus = tus.await;
    let (bytes, memory) = (picture(100_000), memory());
    device.sample(&bytes).await;
    let sync = device.upload(&both(&cloud, &tus), &memory);
    until_samples(&sync, "a break", |status| status.failures > 0).await;
    // Nobody has the time to say goodbye.
    drop(sync);
    assert!(memory.lock().expect("memory").contains("/files/1"));
    open.store(true, std::sync::atomic::Ordering::Relaxed);
    let sync = device.upload(&both(&cloud, &tus), &memory);
    let uploads = tus.holds(1).await;
    assert!(only(&uploads).bytes == bytes);
    device.holds(0).await;
    let asked = tus.cloud().asked();
    assert_eq!(asked.iter().filter(|asked| asked.raw.starts_with("POST")).count(), 1);
    sync.stop(Duration::from_secs(5)).await;
    assert_eq!(*memory.lock().expect("memory"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_server_forgot_begins_anew() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let mut forgot = false;
    let tus = with(move |asked, shelf| {
        if is_piece(asked) && !forgot && shelf.newest().pieces == 2 {
            forgot = true;
            shelf.clear();
        }
        None
    });
    arrives(device, &cloud, &tus.await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_the_protocol_is_not_believed() {
    let html = "Content-Type: text/html\r\n";
    for (answer, told) in [
        (Answer::Status(200, html, "<html>Log in</html>"), "answer"),
        (Answer::Status(201, html, "<html>Log in</html>"), "not with Tus-Resumable: 1.0.0"),
        (Answer::Status(201, "Location: /files/1\r\n", ""), "not with Tus-Resumable: 1.0.0"),
        (Answer::Status(201, "Tus-Resumable: 0.2.2\r\nLocation: /files/1\r\n", ""), "not with Tus"),
        (Answer::Status(201, "Tus-Resumable: 1.0.0\r\n", ""), "no Location; see samples"),
        (
            Answer::Status(201, "Tus-Resumable: 1.0.0\r\nLocation: http://10.0.0.9/a\r\n", ""),
            "another server, 10.0.0.9:80; see samples",
        ),
        (Answer::Status(404, "", ""), "nothing takes uploads there; see samples"),
        (Answer::Status(412, "Tus-Version: 0.2.2\r\n", ""), "another version of tus"),
        (Answer::Status(401, "", ""), "see token_file"),
        (Answer::Status(503, "", ""), "answered 503"),
        (Answer::Endless, "answer"),
    ] {
        let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
        let tus = with(move |_, _| Some(answer.clone())).await;
        device.sample(&picture(100)).await;
        let sync = device.upload(&both(&cloud, &tus), &memory());
        let status = until_samples(&sync, told, |status| status.problem.is_some()).await;
        let problem = status.problem.unwrap_or_default();
        assert!(problem.contains(told), "{told}: {problem}");
        // The records leave meanwhile, and the sample stays.
        cloud.accepts(1).await;
        assert_eq!(device.stored(), 1, "{told}");
        assert!(tus.cloud().asked().iter().all(|asked| !is_piece(asked)), "{told}");
        sync.stop(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_hangs_holds_up_no_record() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let tus = with(|asked, _| is_piece(asked).then_some(Answer::Silence)).await;
    let mut config = both(&cloud, &tus);
    config.timeout = Duration::from_hours(1);
    device.sample(&picture(1000)).await;
    let sync = device.upload(&config, &memory());
    tus.cloud().requests(2).await;
    device.put((0..20).map(|number| format!("alarm {number}"))).await;
    cloud.accepts(21).await;
    // Only the sample is still there.
    device.holds(1).await;
    within("the end", sync.stop(Duration::from_millis(200))).await;
}

/// No more than what is left of the day.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_leave_in_a_day_holds_for_files_too() {
    let (device, cloud, tus) =
        (Device::with_uploads(), Cloud::start(|_| OK).await, Tus::right().await);
    let mut config = both(&cloud, &tus);
    config.daily = Some(ByteSize(50_000));
    device.sample(&picture(100_000)).await;
    let sync = device.upload(&config, &memory());
    until_samples(&sync, "a pause", |status| status.paused.is_some()).await;
    let sent = |cloud: &Cloud| cloud.asked().iter().map(|asked| asked.body.len()).sum::<usize>();
    // The record itself may have been on its way at the same moment.
    let (files, records) = (sent(tus.cloud()), sent(&cloud));
    assert!((50_000 - records..=50_000).contains(&files), "{files} and {records}");
    sync.stop(Duration::ZERO).await;
}

/// Some servers say so of an upload that is too old.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_may_know_of_any_more_begins_anew() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let tus = with(|asked, _| {
        let of_the_first = asked.raw.contains(" /files/1 ");
        let begun = header(asked, "Upload-Offset") == Some("0");
        (of_the_first && !begun).then_some(Answer::Status(403, "", ""))
    });
    arrives(device, &cloud, &tus.await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_shrink_to_what_something_on_the_way_lets_pass() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let tus = with(|asked, _| {
        (asked.body.len() > 20_000).then_some(Answer::Status(413, "", "too large for this proxy"))
    });
    arrives(device, &cloud, &tus.await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_that_is_refused_becomes_a_dead_letter_once_others_are_taken() {
    let (device, cloud) = (Device::with_uploads(), Cloud::start(|_| OK).await);
    let tus = with(|asked, _| {
        let length = header(asked, "Upload-Length")?.parse::<usize>().expect("a number");
        (length > 5000).then_some(Answer::Status(413, "Tus-Resumable: 1.0.0\r\n", "too large"))
    });
    let tus = tus.await;
    device.sample(&picture(9000)).await;
    device.take(Kind::Sample, "{\"no\": \"input\"}").await;
    let small = device.sample(&picture(10)).await;
    let sync = device.upload(&both(&cloud, &tus), &memory());
    let status = until_samples(&sync, "two dead letters", |status| status.dead == 2).await;
    assert_eq!(status.problem, None, "{status:?}");
    let uploads = tus.holds(1).await;
    assert_eq!(only(&uploads).metadata["filename"], format!("{small}.jpg"));
    device.holds(0).await;
    assert_eq!(device.outbox.status().refused, 2);
    sync.stop(Duration::from_secs(5)).await;
}
