//! Tables, numbers and foreign texts on a terminal. Everything is text that anybody may copy: no colours.

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Columns as wide as their widest cell; a row may have fewer cells than there are columns.
pub(crate) fn table(sides: &[Side], rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| wide(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..sides.len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), side) in row.iter().zip(&widths).zip(sides) {
            if !line.is_empty() {
                line.push_str("   ");
            }
            let space = " ".repeat(width.saturating_sub(wide(cell)));
            match side {
                Side::Left => line.extend([cell, space.as_str()]),
                Side::Right => line.extend([space.as_str(), cell]),
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Places that a text takes. Wide letters of East Asia count as one, which only misplaces what follows them.
fn wide(text: &str) -> usize {
    text.chars().count()
}

/// A text of somebody else: what would command the terminal is written out.
pub(crate) fn foreign(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        match letter {
            '\t' => safe.push(letter),
            // Those that turn the direction of writing can make a text look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.extend(letter.escape_unicode()),
            _ if letter.is_control() => safe.extend(letter.escape_default()),
            _ => safe.push(letter),
        }
        safe
    })
}

/// So much of a text as has room.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if wide(text) <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// So many a second.
pub(crate) fn rate(of: f64) -> String {
    format!("{of:.2}/s")
}

/// So many bytes a second.
pub(crate) fn bytes(of: f64) -> String {
    let mut number = of;
    for unit in ["B/s", "kB/s", "MB/s"] {
        if number < 1000.0 {
            return format!("{number:.1} {unit}");
        }
        number /= 1000.0;
    }
    format!("{number:.1} GB/s")
}

/// A share from 0 to 1.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Milliseconds.
pub(crate) fn millis(of: f64) -> String {
    match of {
        of if of >= 10_000.0 => format!("{:.1} s", of / 1000.0),
        of if of >= 100.0 => format!("{of:.0} ms"),
        of if of >= 1.0 => format!("{of:.1} ms"),
        of => format!("{:.0} µs", of * 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_at_the_right() {
        let row = |a: &str, b: &str, c: &str| vec![a.to_owned(), b.to_owned(), c.to_owned()];
        let rows = [row("NAME", "RATE", "STATE"), row("é", "10.00/s", "ok"), vec!["short".to_owned()]];
        assert_eq!(
            table(&[Side::Left, Side::Right, Side::Left], &rows),
            "NAME       RATE   STATE\né       10.00/s   ok\nshort\n"
        );
    }

    #[test]
    fn a_foreign_text_commands_nothing() {
        assert_eq!(foreign("a\u{1b}[2J\r\n\tb\u{9b}c"), "a\\u{1b}[2J\\r\\n\tb\\u{9b}c");
        assert_eq!(foreign("한국어 ok"), "한국어 ok");
        assert_eq!(foreign("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(cut("a longer text", 6), "a lon…");
        assert_eq!(cut("short", 5), "short");
        assert_eq!(
            [millis(0.25), millis(4.21), millis(123.4), millis(12_345.0)],
            ["250 µs", "4.2 ms", "123 ms", "12.3 s"]
        );
        assert_eq!([bytes(12.0), bytes(1234.0), bytes(5e9)], ["12.0 B/s", "1.2 kB/s", "5.0 GB/s"]);
        assert_eq!([percent(0.333), rate(1.0)], ["33.3 %", "1.00/s"]);
    }
}
