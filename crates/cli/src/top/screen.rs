//! The terminal while a table fills it. However the program ends, but by SIGKILL, the terminal is as it was.

use std::io::{IsTerminal as _, Read as _, Stdin, Write as _};

use anyhow::Context;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use super::fit;
use crate::text::cut;

/// Another screen than the one with what was there before, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Where a terminal does not say how large it is.
const USUAL: (u16, u16) = (80, 24);

/// The whole terminal.
pub(super) struct Screen {
    /// As it was before; `None`: no keys come from there.
    before: Option<(Stdin, Termios)>,
}

impl Screen {
    /// Takes it.
    pub(super) fn take() -> anyhow::Result<Self> {
        let input = std::io::stdin();
        let before = if input.is_terminal() {
            let found = tcgetattr(&input).context("cannot learn how the terminal is set")?;
            Some((input, found))
        } else {
            None
        };
        // From here on it is given back.
        let screen = Self { before };
        if let Some((input, before)) = &screen.before {
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(input, SetArg::TCSANOW, &raw).context("cannot read single keys from the terminal")?;
        }
        write(ENTER)?;
        Ok(screen)
    }

    /// Shows a table, and a line below it.
    pub(super) fn draw(&self, table: &str, status: &str) -> anyhow::Result<()> {
        let (columns, rows) =
            varka_sys::pty::size(&std::io::stdout()).ok().filter(|(c, r)| *c > 0 && *r > 0).unwrap_or(USUAL);
        let (columns, rows) = (usize::from(columns), usize::from(rows));
        let mut text = "\x1b[H".to_owned();
        for line in fit(table, columns, rows) {
            text.push_str(&line);
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        text.push_str(&format!("\x1b[{rows};1H{}", cut(status, columns)));
        write(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done where the terminal is gone.
        let _ = write(LEAVE);
        if let Some((input, before)) = &self.before {
            let _ = tcsetattr(input, SetArg::TCSANOW, before);
        }
    }
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Keys as they are pressed; none where the input is no terminal.
pub(super) fn keys() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(16);
    if std::io::stdin().is_terminal() {
        // Reading waits as long as nobody presses anything, and ends with the program.
        std::thread::spawn(move || {
            let mut key = [0];
            while let Ok(1) = std::io::stdin().read(&mut key) {
                if sender.blocking_send(key[0]).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}
