//! Progress on standard error: bars on a terminal, plain lines elsewhere.
//!
//! Never on standard output, and nothing at all unless stderr is a terminal or
//! `DXF_PROGRESS=1` asks for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dxf_registry::Digest;
use dxf_registry::progress::Progress;
use dxf_registry::text::one_line;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::out::console::Console;
use crate::cli::out::size;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Not at all.
    Nothing,
    /// As lines, for logs.
    Lines,
    /// As bars in colour.
    Colours,
    /// As bars.
    Bars,
}

/// What shows progress as `show` says.
pub fn progress(show: Show, console: &Console) -> Box<dyn Progress> {
    labelled(show, console, Label::Digest)
}

/// The same for something that has a better name than its digest.
pub fn named(show: Show, console: &Console, name: &str) -> Box<dyn Progress> {
    labelled(show, console, Label::Name(one_line(name)))
}

fn labelled(show: Show, console: &Console, label: Label) -> Box<dyn Progress> {
    match show {
        Show::Nothing => Box::new(()),
        Show::Lines => Box::new(Lines::new(console.clone(), label)),
        Show::Colours | Show::Bars => Box::new(Bars::new(console.clone(), show, label)),
    }
}

/// What a line begins with.
enum Label {
    /// Enough of a digest to tell it from its neighbours: `sha256:ba7816bf`.
    Digest,
    /// A name.
    Name(String),
}

impl Label {
    fn of(&self, blob: &Digest) -> String {
        match self {
            Label::Digest => format!("{}:{}", blob.algorithm(), &blob.hex()[..8]),
            Label::Name(name) => name.clone(),
        }
    }
}

/// A bar for each blob under way.
struct Bars {
    console: Console,
    label: Label,
    known: ProgressStyle,
    unknown: ProgressStyle,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Bars {
    fn new(console: Console, show: Show, label: Label) -> Bars {
        let bar = match show {
            Show::Colours => "{wide_bar:.cyan/blue}",
            _ => "{wide_bar}",
        };
        let known = format!(
            "{{prefix}} {{percent:>3}}% {bar} {{bytes}}/{{total_bytes}} {{bytes_per_sec}} {{eta}}"
        );
        let style = |template: &str, fallback: ProgressStyle| {
            ProgressStyle::with_template(template).unwrap_or(fallback)
        };
        Bars {
            console,
            label,
            known: style(&known, ProgressStyle::default_bar()).progress_chars("=> "),
            unknown: style(
                "{prefix} {spinner} {bytes} {bytes_per_sec}",
                ProgressStyle::default_spinner(),
            ),
            bars: Mutex::new(HashMap::new()),
        }
    }
}

impl Progress for Bars {
    fn start(&self, blob: &Digest, total: Option<u64>) {
        let mut bars = lock(&self.bars);
        if let Some(bar) = bars.get(blob) {
            bar.reset();
            return;
        }
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(self.known.clone()),
            None => ProgressBar::no_length().with_style(self.unknown.clone()),
        };
        let bar = self
            .console
            .bars()
            .add(bar.with_prefix(self.label.of(blob)));
        bar.tick();
        bars.insert(*blob, bar);
    }

    fn advance(&self, blob: &Digest, bytes: u64) {
        if let Some(bar) = lock(&self.bars).get(blob) {
            bar.inc(bytes);
        }
    }

    fn finish(&self, blob: &Digest) {
        let Some(bar) = lock(&self.bars).remove(blob) else {
            return;
        };
        // A finished bar leaves the cursor after it, where the next program
        // would go on writing; a line does not.
        let (bytes, took) = (bar.position(), bar.elapsed());
        bar.finish_and_clear();
        let (label, total) = (self.label.of(blob), size::show(bytes));
        let rate = rate(bytes, took).unwrap_or_default();
        self.console.raw(&format!("{label} 100% {total}{rate}"));
    }
}

/// Bytes a second, where enough time has passed to tell.
fn rate(bytes: u64, time: Duration) -> Option<String> {
    let seconds = time.as_secs_f64();
    let rate = (seconds >= 0.001).then(|| (bytes as f64 / seconds) as u64)?;
    Some(format!(" {}/s", size::show(rate)))
}

/// Lines for a log: few of them, and always a first and a last.
struct Lines {
    console: Console,
    label: Label,
    under_way: Mutex<HashMap<Digest, Line>>,
}

/// What was last written of a blob.
struct Line {
    total: Option<u64>,
    done: u64,
    begun: Instant,
    written: Instant,
    percent: u64,
}

/// A line is written after this many percent …
const STEP: u64 = 10;
/// … or after this time.
const PAUSE: Duration = Duration::from_secs(1);

impl Lines {
    fn new(console: Console, label: Label) -> Lines {
        Lines {
            console,
            label,
            under_way: Mutex::new(HashMap::new()),
        }
    }

    fn write(&self, blob: &Digest, line: &Line) {
        let label = self.label.of(blob);
        let rate = rate(line.done, line.begun.elapsed()).unwrap_or_default();
        let done = line.done;
        self.console.raw(&match line.total {
            Some(total) => format!("{label}: {:>3}% {done}/{total} bytes{rate}", line.percent),
            None => format!("{label}: {done} bytes{rate}"),
        });
    }
}

impl Line {
    /// The part that is done; 100 is for what was accepted.
    fn part(&self) -> u64 {
        match self.total {
            Some(total) if total > 0 => {
                let part = u128::from(self.done) * 100 / u128::from(total);
                part.min(99) as u64
            }
            _ => 0,
        }
    }
}

impl Progress for Lines {
    fn start(&self, blob: &Digest, total: Option<u64>) {
        let now = Instant::now();
        let line = Line {
            total,
            done: 0,
            begun: now,
            written: now,
            percent: 0,
        };
        self.write(blob, &line);
        lock(&self.under_way).insert(*blob, line);
    }

    fn advance(&self, blob: &Digest, bytes: u64) {
        let mut under_way = lock(&self.under_way);
        let Some(line) = under_way.get_mut(blob) else {
            return;
        };
        line.done += bytes;
        let part = line.part();
        if part >= line.percent + STEP || line.written.elapsed() >= PAUSE {
            line.percent = part;
            line.written = Instant::now();
            self.write(blob, line);
        }
    }

    fn finish(&self, blob: &Digest) {
        if let Some(mut line) = lock(&self.under_way).remove(blob) {
            line.percent = 100;
            // What a retry or a mount saved still counts as done.
            line.done = line.total.unwrap_or(line.done);
            self.write(blob, &line);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Progress that is off by a buffer is better than none.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::Shared;

    fn shown(work: impl FnOnce(&dyn Progress, &Digest)) -> Vec<String> {
        let buffer = Shared::default();
        let console = Console::new(Box::new(buffer.clone()));
        work(&*progress(Show::Lines, &console), &Digest::of(b"abc"));
        buffer.text().lines().map(str::to_string).collect()
    }

    #[test]
    fn lines_are_few_and_end_with_all() {
        let lines = shown(|p, d| {
            p.start(d, Some(100_000));
            for _ in 0..1000 {
                p.advance(d, 100);
            }
            p.finish(d);
        });
        assert!(
            lines[0].starts_with("sha256:ba7816bf:   0% 0/100000 "),
            "{lines:?}"
        );
        assert!(
            lines[1].starts_with("sha256:ba7816bf:  10% 10000/100000 "),
            "{lines:?}"
        );
        let last = lines.last().unwrap();
        assert!(
            last.starts_with("sha256:ba7816bf: 100% 100000/100000 "),
            "{last}"
        );
        assert!(lines.len() < 20, "{}", lines.len());
    }

    #[test]
    fn a_second_start_counts_from_zero() {
        let lines = shown(|p, d| {
            p.start(d, Some(10));
            p.advance(d, 9);
            p.start(d, Some(10));
            p.advance(d, 5);
            p.finish(d);
        });
        let percents: Vec<&str> = lines
            .iter()
            .map(|l| l[16..].trim().split(' ').next().unwrap())
            .collect();
        assert_eq!(percents, ["0%", "90%", "0%", "50%", "100%"]);
    }

    #[test]
    fn empty_and_unmeasured_blobs() {
        let lines = shown(|p, d| {
            p.start(d, Some(0));
            p.finish(d);
        });
        assert!(
            lines[1].starts_with("sha256:ba7816bf: 100% 0/0 "),
            "{lines:?}"
        );
        let lines = shown(|p, d| {
            p.start(d, None);
            p.advance(d, 7);
            p.finish(d);
        });
        assert!(
            lines
                .last()
                .unwrap()
                .starts_with("sha256:ba7816bf: 7 bytes"),
            "{lines:?}"
        );
    }

    #[test]
    fn silence_is_silent() {
        let buffer = Shared::default();
        let console = Console::new(Box::new(buffer.clone()));
        let quiet = progress(Show::Nothing, &console);
        quiet.start(&Digest::of(b""), None);
        quiet.finish(&Digest::of(b""));
        assert_eq!(buffer.text(), "");
    }
}
