//! Tables and bars for a terminal.

/// Lines up columns: the first to the left, the rest to the right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| {
        let padded =
            cells.iter().zip(&widths).enumerate().map(|(index, (cell, &width))| match index {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let header: Vec<_> = header.iter().map(|&cell| cell.to_owned()).collect();
    let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (columns.max(1) - 1)) + "\n";
    let body: String = rows.iter().map(|row| line(row)).collect();
    line(&header) + &rule + &body
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
    fn numbers_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(2.0, 1), "█");
        assert_eq!(bar(f64::NAN, 1), "");
    }
}
