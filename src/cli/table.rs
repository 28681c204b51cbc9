//! Tables and bars for a terminal.

/// No table is wider, as long as its last column gets [`LEAST`].
const WIDTH: usize = 100;

/// A last column that is wrapped is not narrower.
const LEAST: usize = 20;

const GAP: &str = "  ";

/// Lines up columns: the first to the left, the rest to the right. A last column that is too wide for
/// [`WIDTH`] stands to the left and goes on below itself.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<_> = header.iter().map(|&cell| cell.to_owned()).collect();
    let mut widths = vec![0; header.len()];
    for row in std::iter::once(&header).chain(rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let gaps = GAP.len() * header.len().saturating_sub(1);
    let before = widths.iter().rev().skip(1).sum::<usize>() + gaps;
    let room = WIDTH.saturating_sub(before).max(LEAST);
    let wide = header.len() > 1 && widths.last().is_some_and(|last| *last > room);
    if let Some(last) = widths.last_mut().filter(|_| wide) {
        *last = room;
    }
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(index, (cell, &width))| {
            if index == 0 || wide && index + 1 == widths.len() {
                format!("{cell:<width$}")
            } else {
                format!("{cell:>width$}")
            }
        });
        padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned() + "\n"
    };
    let lines = |cells: &Vec<String>| match cells.split_last() {
        Some((last, others)) if wide => {
            let parts = wrap(last, room);
            let blank = vec![String::new(); others.len()];
            let rows = parts.into_iter().enumerate().map(|(index, part)| {
                let others = if index == 0 { others } else { &blank };
                line(&[others, &[part]].concat())
            });
            rows.collect()
        }
        _ => line(cells),
    };
    let rule = "─".repeat(widths.iter().sum::<usize>() + gaps) + "\n";
    lines(&header) + &rule + &rows.iter().map(lines).collect::<String>()
}

/// Breaks text between words into lines of at most `room` characters; a longer word is broken, too.
/// At least one line.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (index, piece) in letters.chunks(room.max(1)).enumerate() {
            let gap = usize::from(index == 0 && used > 0);
            if index > 0 || used + gap + piece.len() > room {
                if used > 0 {
                    lines.push(String::new());
                }
                used = 0;
            } else if gap > 0 {
                used += 1;
                lines.last_mut().into_iter().for_each(|line| line.push(' '));
            }
            used += piece.len();
            lines.last_mut().into_iter().for_each(|line| line.extend(piece));
        }
    }
    lines
}

/// A bar of `share` (0 to 1) of `width` characters, in eighths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 ≤ eighths ≤ 8 × width"
)]
pub(super) fn bar(share: f64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// `1234567` as `1,234,567`.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for a person.
pub(super) fn bytes(number: u64) -> String {
    bytesize::ByteSize::b(number).display().si().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows =
            [vec!["bearing".to_owned(), "1,500".to_owned()], vec!["é".to_owned(), "2".to_owned()]];
        let expected =
            "name     messages\n─────────────────\nbearing     1,500\né               2\n";
        assert_eq!(table(&["name", "messages"], &rows), expected);
    }

    #[test]
    fn a_wide_table_goes_on_below_itself() {
        let words = "several words of no great length ".repeat(8);
        let long = "x".repeat(150);
        let rows = [
            vec!["bearing".to_owned(), "12".to_owned(), words.clone()],
            vec!["defects".to_owned(), "3".to_owned(), long.clone()],
            vec!["none".to_owned(), "4".to_owned(), String::new()],
        ];
        let text = table(&["model", "size", "description"], &rows);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("\nbearing    12  several words"), "{text}");
        assert!(text.contains("\n               "), "{text}");
        assert_eq!(text.split_whitespace().filter(|word| *word == "words").count(), 8, "{text}");
        assert_eq!(text.matches('x').count(), long.len(), "{text}");
        assert!(text.ends_with("\nnone        4\n"), "{text}");
    }

    #[test]
    fn words_are_broken_only_where_they_must() {
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefghi j", 4), ["abcd", "efgh", "i j"]);
        assert_eq!(wrap("ab cdefg", 4), ["ab", "cdef", "g"]);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(2.0, 1), "█");
        assert_eq!(bar(f64::NAN, 1), "");
    }
}
