use super::report::{Wave, shown, shown_reasons};
use super::*;

const MODEL: &str = "models/defects/4.tar.zst";

fn line(id: u32, device: &str, at: &str, body: &str) -> String {
    format!(
        "{{\"v\":1,\"id\":\"018e2f3a-0000-7000-8000-{id:012}\",\"origin\":null,\"device\":\"{device}\",\"epoch\":1,\
         \"seq\":{id},\"at\":\"2026-03-01T{at}Z\",\"kind\":\"update\",\"body\":{body}}}\n"
    )
}

fn is(state: &str) -> String {
    format!(r#"{{"release":"{MODEL}","state":"{state}","wave":1}}"#)
}

fn read(text: &str) -> Records {
    let mut records = Records::new(100);
    records.take_all(text.as_bytes(), 1000).expect("read");
    records
}

/// Of a file in which one device speaks of one release.
fn state(lines: &[String]) -> State {
    let records = read(&lines.concat());
    assert_eq!((records.pairs, records.unread), (1, 0), "{:?}", records.first);
    records.words[MODEL].values().next().expect("a word").state
}

#[test]
fn the_last_word_of_a_device_counts_by_its_time_and_then_by_its_place() {
    let [shadow, canary, committed] = ["shadow", "canary", "committed"].map(is);
    let early = line(1, "a", "10:00:00", &shadow);
    let late = line(2, "a", "10:00:01.5", &committed);
    assert_eq!(state(&[early.clone(), late.clone()]), State::Committed);
    assert_eq!(state(&[late, early.clone()]), State::Committed);
    let also = line(3, "a", "10:00:00", &canary);
    assert_eq!(state(&[early.clone(), also.clone()]), State::Canary);
    assert_eq!(state(&[also.clone(), early.clone()]), State::Shadow);
    // A batch that came twice.
    assert_eq!(state(&[early.clone(), also.clone(), early, also]), State::Canary);
}

#[test]
fn every_state_has_its_column_and_every_wave_its_row() {
    let states = State::ALL.map(|state| serde_json::to_string(&state).expect("json"));
    let records: String = (0..)
        .zip(states)
        .map(|(number, state)| {
            let body = format!(r#"{{"release":"{MODEL}","state":{state},"wave":2}}"#);
            line(number, &format!("d{number}"), "10:00:00", &body)
        })
        .collect();
    let alone = r#"{"release":"eir/0.5.0/t","state":"waiting","wave":null,"of a later eir":[]}"#;
    let records = read(&(records + &line(99, "d1", "10:00:00", alone)));
    assert_eq!(records.unread, 0, "{:?}", records.first);
    let second = NonZeroU8::new(2);
    let expected = [
        (("eir/0.5.0/t", None), Wave { updated: 0, under_way: 1, back: 0 }),
        ((MODEL, second), Wave { updated: 1, under_way: 8, back: 2 }),
    ];
    assert!(records.waves().into_iter().eq(expected), "{:?}", records.waves());
}

#[test]
fn what_is_no_record_is_counted_and_what_is_another_is_passed_over() {
    let good = line(1, "a", "10:00:00", &is("shadow"));
    let others = "{\"kind\":\"sample\",\"body\":7}\n\n  \n{\"v\":2,\"kind\":\"health\"}\n";
    let records = read(&(others.to_owned() + &good));
    assert_eq!((records.pairs, records.unread), (1, 0), "{:?}", records.first);
    let long = format!("{{\"kind\":\"{}\"}}\n", "x".repeat(1000));
    for (wrong, told) in [
        ("{".to_owned(), "EOF"),
        ("no json".to_owned(), "expected"),
        ("[]".to_owned(), "invalid length"),
        ("{}".to_owned(), "missing field `kind`"),
        ("{\"kind\":\"update\"}".to_owned(), "missing field"),
        (good.replace("\"v\":1", "\"v\":2"), "its form is 2"),
        (good.replace("2026-", "soon-"), "year"),
        (good.replace("\"a\"", "\"../a\""), "no name"),
        (good.replace("shadow", "sh\\u001b[31madow"), "unknown variant `sh [31madow`"),
        (good.replace("\"wave\":1", "\"wave\":0"), "nonzero"),
        (good.replace(MODEL, "models/../4"), "`models/../4` is no release"),
        (long, "more than 1000 bytes"),
    ] {
        let records = read(&format!("{good}{}\n{good}", wrong.trim_end()));
        assert_eq!((records.pairs, records.unread, records.lines), (1, 1, 3), "{wrong}");
        let (line, why) = records.first.expect("it is told");
        assert!(line == 2 && why.contains(told), "{wrong}: {why}");
    }
    // A file that ends within a line.
    assert_eq!(read(good.trim_end()).pairs, 1);
}

#[test]
fn reasons_that_differ_in_numbers_count_as_one() {
    assert_eq!(without_numbers("it takes 1.72 times, 1.5 may."), "it takes # times, # may.");
    let mut records = Records::new(MAX_PAIRS);
    for (number, times) in [(1, "1.72"), (2, "1.8"), (3, "20")] {
        let reason = format!(",\"reason\":\"{times} times\"}}");
        let body = is("rolled_back").replace('}', &reason);
        let line = line(number, &format!("d{number}"), "10:00:00", &body);
        records.take(line.as_bytes()).expect("a record");
    }
    assert_eq!(records.reasons(), [(3, MODEL, "1.72 times")]);
}

#[test]
fn memory_is_bounded() {
    // In letters: numbers make no other reason.
    let letter = |digit: char| char::from(b'a' + digit.to_string().as_bytes()[0] - b'0');
    let line = |number: u32| {
        let reason: String = number.to_string().chars().map(letter).collect();
        let body = is("rolled_back").replace('}', &format!(",\"reason\":\"{reason}\"}}"));
        line(number, &format!("d{number}"), "10:00:00", &body)
    };
    let mut records = Records::new(2);
    let text: String = (1..100).map(line).collect();
    records.take_all(text.as_bytes(), 1000).expect("read");
    assert_eq!((records.pairs, records.lines), (3, 3), "no more is read");
    let mut records = Records::new(MAX_PAIRS);
    for number in 0..=u32::try_from(MAX_REASONS).expect("few") + 1 {
        records.take(line(number).as_bytes()).expect("a record");
    }
    records.take(line(3).replace("d3", "other").as_bytes()).expect("a known reason");
    assert_eq!(records.reasons.len(), MAX_REASONS + 1);
    let reasons = records.reasons();
    assert_eq!(reasons[..2], [(2, MODEL, "d"), (2, MODEL, OTHER)]);
    assert_eq!(reasons.len(), 10);
}

#[test]
fn tables_are_at_most_100_columns_wide() {
    let name = "n".repeat(64);
    let release = format!("models/{name}/{}.tar.zst", u64::MAX);
    let reason = "it was too slow, and\\tsaid \\u001b[2J so; ".repeat(20);
    let body = format!(
        r#"{{"release":"{release}","state":"rolled_back","wave":255,"reason":"{reason}"}}"#
    );
    let mut records = Records::new(9);
    records.take(line(1, &name, "10:00:00", &body).as_bytes()).expect("a record");
    let mut waves = records.waves();
    for wave in waves.values_mut() {
        *wave = Wave { updated: 333_333, under_way: 333_333, back: 333_334 };
    }
    let text = shown(&waves) + &shown_reasons(&records.reasons());
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(text.contains("333,334 (33.33 %)") && text.contains("nnn…737"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn reasons_begin_below_each_other() {
    let reasons = [(12, MODEL, "it was slower"), (1, "eir/0.5.0/t", "3 starts were cut off")];
    let text = shown_reasons(&reasons);
    let columns: Vec<_> = ["went back", "it was", "3 starts"]
        .iter()
        .filter_map(|words| text.lines().find_map(|line| line.find(words)))
        .collect();
    assert_eq!(columns, [columns[0]; 3], "{text}");
}
