//! The dashboard for Grafana and the alerts for Prometheus: they ask for what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::models::say;
use super::*;

/// An outbox and a cloud, a broker of its own, a remote model: parts that not every device has.
const MORE: &str = r#"
[broker]
listen = "127.0.0.1:0"

[cloud.main]
url = "http://127.0.0.1:1"

[pipeline.bearing.escalate]
uncertain = [0.0, 1.0]
url = "http://127.0.0.1:1"
"#;

/// What comes from the scrape, and what an expression makes itself.
const OTHER_LABELS: [&str; 3] = ["instance", "job", "what"];

const CLAUSES: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 4] = ["and", "or", "unless", "bool"];

/// Metrics and labels.
#[derive(Debug, Default)]
struct Names {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

impl Names {
    /// Those that an expression asks for: words that are neither functions nor operators.
    fn asked(&mut self, expression: &str) {
        let tokens = tokens(expression);
        let next = tokens.iter().skip(1).map(String::as_str).chain([""]);
        let mut labels_until = None;
        for (token, next) in tokens.iter().map(String::as_str).zip(next) {
            let is_word = token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if labels_until == Some(token) {
                labels_until = None;
            } else if token == "{" || CLAUSES.contains(&token) {
                labels_until = Some(if token == "{" { "}" } else { ")" });
            } else if is_word && labels_until.is_some() {
                self.labels.insert(token.to_owned());
            } else if is_word
                && next != "("
                && !CLAUSES.contains(&next)
                && !OPERATORS.contains(&token)
            {
                self.metrics.insert(token.to_owned());
            }
        }
    }

    /// Those of an answer to Prometheus.
    fn told(text: &str) -> Self {
        let mut names = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            names.asked(line);
        }
        names
    }

    /// Notes the words that come right behind this.
    fn labels_behind(&mut self, mark: &str, text: &str) {
        let is_other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let behind = text.split(mark).skip(1).filter_map(|text| text.trim().split(is_other).next());
        self.labels.extend(behind.map(str::to_owned));
    }
}

/// Words and signs, without what stands in quotes.
fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_word = false;
    for c in expression.split('"').step_by(2).flat_map(|part| part.chars().chain([' '])) {
        let is_part = c.is_ascii_alphanumeric() || "_:.$".contains(c);
        match tokens.last_mut() {
            Some(word) if in_word && is_part => word.push(c),
            _ if !c.is_whitespace() => tokens.push(c.to_string()),
            _ => {}
        }
        in_word = is_part;
    }
    tokens
}

fn example(name: &str) -> String {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("cross/packages/deploy");
    std::fs::read_to_string(examples.join(name)).expect(name)
}

fn dashboard() -> Value {
    serde_json::from_str(&example("grafana-dashboard.json")).expect("json")
}

fn list<'a>(of: &'a Value, pointer: &str) -> &'a [Value] {
    of.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(of: &'a Value, pointer: &str) -> &'a str {
    of.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What the panels ask for, and the variables.
fn expressions(dashboard: &Value) -> Vec<String> {
    let targets = list(dashboard, "/panels").iter().flat_map(|panel| list(panel, "/targets"));
    let mut all: Vec<_> = targets.map(|target| text(target, "/expr").to_owned()).collect();
    for variable in list(dashboard, "/templating/list") {
        let query = text(variable, "/query/query");
        let inside =
            query.split_once('(').and_then(|(of, rest)| Some((of, rest.strip_suffix(')')?)));
        match (inside, text(variable, "/type")) {
            (Some(("query_result", expression)), "query") => all.push(expression.to_owned()),
            (Some(("label_values", of)), "query") => {
                let (metric, label) = of.split_once(", ").expect("a metric and a label");
                all.push(format!("group by ({label}) ({metric})"));
            }
            (_, kind) => assert_eq!(kind, "datasource", "{variable}"),
        }
    }
    assert!(all.iter().all(|expression| !expression.is_empty()));
    all
}

/// The names that the source gives as they are. Those that it puts together a device must tell.
fn written() -> BTreeSet<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let metrics = std::fs::read_dir(source.join("api/metrics")).expect("the metrics");
    let mut files: Vec<_> = metrics.map(|entry| entry.expect("an entry").path()).collect();
    files.push(source.join("app/counters.rs"));
    let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("source"));
    let names = texts.flat_map(|text| {
        let literals = text.split('"').skip(1).map(str::to_owned);
        literals.filter(|literal| literal.starts_with("eir_")).collect::<Vec<_>>()
    });
    names.collect()
}

/// What a device with all its parts tells.
async fn told() -> Names {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().expect("tempdir");
    let outbox = format!("outbox.path={}", directory.path().join("outbox.db").display());
    let device = format!("{}{MORE}", site::BEARING);
    let mut app = site::start(&device, broker.port(), &[OPEN, &outbox]).await;
    let mut peer = Peer::connect("peer", broker.port()).await;
    peer.publish("plant/a/vibration", "this is no json").await;
    site::until(&app, "bearing", |counts| !counts.errors.is_empty()).await;
    let address = app.api_address().expect("it listens");
    let still = serde_json::json!({ "samples": vec![[0.0, 0.0, 1.0]; 256] }).to_string();
    let (path, kind) = ("/v2/models/bearing/predict", "content-type: application/json\r\n");
    assert_eq!(say(address, "POST", path, kind, still.as_bytes()).await.status, 200);
    let wait = async {
        loop {
            app.tick();
            let text = get(address, "/metrics").await.body;
            if text.contains("eir_errors_total") && text.contains("eir_api_requests_total") {
                return Names::told(&text);
            }
        }
    };
    let told = within("metrics", wait).await;
    app.drain().await;
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let mut told = told().await;
    told.metrics.extend(written());
    // Prometheus' own.
    told.metrics.insert("up".to_owned());
    told.labels.extend(OTHER_LABELS.map(str::to_owned));

    let (dashboard, alerts) = (dashboard(), example("alerts.yml"));
    let rules = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    assert_eq!(rules.clone().count(), alerts.matches("- alert: ").count());
    let mut asked = Names::default();
    for expression in expressions(&dashboard).iter().map(String::as_str).chain(rules) {
        asked.asked(expression);
    }
    asked.labels_behind("$labels.", &alerts);
    for panel in list(&dashboard, "/panels") {
        for target in list(panel, "/targets") {
            asked.labels_behind("{{", text(target, "/legendFormat"));
        }
        for columns in list(panel, "/transformations") {
            let columns = columns["options"]["renameByName"].as_object().expect("columns").keys();
            asked.labels.extend(columns.filter(|&column| column != "Value").cloned());
        }
    }
    assert!(asked.metrics.len() > 40, "{asked:?}");
    let absent: Vec<_> = asked.metrics.difference(&told.metrics).collect();
    assert!(absent.is_empty(), "no metrics {absent:?} among {:?}", told.metrics);
    let absent: Vec<_> = asked.labels.difference(&told.labels).collect();
    assert!(absent.is_empty(), "no labels {absent:?} among {:?}", told.labels);
}

#[test]
fn the_panels_of_the_dashboard_have_titles_and_units_and_places_of_their_own() {
    let dashboard = dashboard();
    assert_eq!(text(&dashboard, "/uid"), "eir");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in list(&dashboard, "/panels") {
        let title = text(panel, "/title");
        assert!(!title.is_empty(), "{panel}");
        assert!(ids.insert(panel["id"].as_u64()), "the id of `{title}` is taken");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64());
        let [x, y] = [x, y].map(|side| side.expect("a place"));
        let [w, h] = [w, h].map(|side| side.expect("a size"));
        assert!(w > 0 && h > 0 && x + w <= 24, "`{title}` is off the grid");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "`{title}` lies on another panel");
        }
        if text(panel, "/type") == "row" {
            continue;
        }
        assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "`{title}` has no unit");
        let targets = list(panel, "/targets");
        assert!(!targets.is_empty(), "`{title}` asks for nothing");
        for asks in targets.iter().chain([panel]) {
            assert_eq!(text(asks, "/datasource/uid"), "${datasource}", "{title}");
        }
    }
}

#[test]
fn prometheus_can_read_what_the_dashboard_asks() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in expressions(&dashboard()).iter().enumerate() {
        let plain = expression
            .replace("$device", ".*")
            .replace("$pipeline", ".*")
            .replace("$__rate_interval", "5m");
        // `$1` is what a pattern has matched.
        assert!(!plain.replace("$1", "").contains('$'), "an unknown variable in {expression}");
        let plain = Value::from(plain);
        writeln!(rules, "      - record: dashboard:{number}\n        expr: {plain}")
            .expect("write");
    }
    if let Some((good, said)) = promtool(&["check", "rules", "/dev/stdin"], &rules) {
        assert!(good, "{said}");
    }
}
