//! Progress on standard error: bars on a terminal, plain lines elsewhere.
//!
//! Never on standard output, and nothing at all unless stderr is a terminal or
//! `DXF_PROGRESS=1` asks for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dxf_registry::Digest;
use dxf_registry::progress::{Progress, Skipped};
use dxf_registry::text::one_line;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::out::console::Console;
use crate::cli::out::label::{Label, short};
use crate::cli::out::size;
use crate::cli::out::tally::Tally;

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

/// Shows progress as `show` says, and a sum at the end, of blobs that are called as
/// `label` says.
pub fn progress(show: Show, console: &Console, label: Label) -> Box<dyn Progress> {
    match show {
        Show::Nothing => Box::new(()),
        Show::Lines => Box::new(Lines::new(console.clone(), label)),
        Show::Colours | Show::Bars => Box::new(Bars::new(console.clone(), show, label)),
    }
}

/// The same for something that has a better name than its digest, without a sum.
pub fn named(show: Show, console: &Console, name: &str) -> Box<dyn Progress> {
    progress(show, console, Label::Name(one_line(name)))
}

/// A bar for each blob under way, [`MOST`] of them at once; with several blobs,
/// a line for all of them below. What was moved is summed up at the end.
struct Bars {
    console: Console,
    label: Label,
    styles: Styles,
    state: Mutex<State>,
}

/// The most bars at once: more leave no room for anything else.
const MOST: usize = 8;
/// From this many columns on, a line has room for a bar and all numbers.
const WIDE: u16 = 72;
/// Reading a file is shown from this time on: most take less.
const PATIENCE: Duration = Duration::from_millis(300);

/// What bars look like, in the width that the terminal has.
struct Styles {
    known: ProgressStyle,
    unknown: ProgressStyle,
    total: ProgressStyle,
}

impl Styles {
    fn new(show: Show, columns: u16) -> Styles {
        let bar = match show {
            Show::Colours => "{wide_bar:.cyan/blue}",
            _ => "{wide_bar}",
        };
        let wide = format!(
            "{{prefix:20}} {{percent:>3}}% {bar} {{bytes}}/{{total_bytes}} {{bytes_per_sec}} {{eta}}"
        );
        let (known, total) = match columns >= WIDE {
            true => (wide.as_str(), wide.as_str()),
            false => (
                "{prefix:15} {percent:>3}% {bytes_per_sec}",
                "{prefix:15} {percent:>3}% {bytes} {eta}",
            ),
        };
        let style = |template: &str| {
            let style = ProgressStyle::with_template(template);
            style
                .unwrap_or(ProgressStyle::default_bar())
                .progress_chars("=> ")
        };
        Styles {
            known: style(known),
            unknown: style("{prefix:15} {spinner} {bytes} {bytes_per_sec}"),
            total: style(total),
        }
    }
}

/// What moves, and what has moved.
#[derive(Default)]
struct State {
    under_way: HashMap<Digest, Moving>,
    /// The line for all, once there is a second blob.
    total: Option<ProgressBar>,
    begun: Option<Instant>,
    started: usize,
    size: u64,
    /// The bytes of finished blobs, which include those from the cache.
    moved: u64,
    tally: Tally,
    existed: HashSet<Digest>,
    /// The label of the last blob that moved.
    label: String,
    /// What is read before anything moves.
    prepared: HashMap<String, Preparing>,
}

/// A file that is read to compute its digest.
struct Preparing {
    begun: Instant,
    bar: Option<ProgressBar>,
}

/// A blob under way.
struct Moving {
    /// `None` where there are too many.
    bar: Option<ProgressBar>,
    size: Option<u64>,
    moved: u64,
}

impl Bars {
    fn new(console: Console, show: Show, label: Label) -> Bars {
        let columns = console::Term::stderr().size().1;
        Bars {
            console,
            label,
            styles: Styles::new(show, columns),
            state: Mutex::default(),
        }
    }

    /// A bar for a blob that begins, above the line for all.
    fn bar(&self, state: &State, blob: &Digest, total: Option<u64>) -> Option<ProgressBar> {
        let shown = state.under_way.values();
        if shown.filter(|moving| moving.bar.is_some()).count() >= MOST {
            return None;
        }
        Some(self.add(state, short(&self.label.of(blob)), total))
    }

    /// A bar above the line for all.
    fn add(&self, state: &State, prefix: String, total: Option<u64>) -> ProgressBar {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(self.styles.known.clone()),
            None => ProgressBar::no_length().with_style(self.styles.unknown.clone()),
        };
        let bar = bar.with_prefix(prefix);
        let bar = match &state.total {
            Some(below) => self.console.bars().insert_before(below, bar),
            None => self.console.bars().add(bar),
        };
        bar.tick();
        bar
    }

    /// Brings the line for all up to date; it appears with the second blob.
    fn show_total(&self, state: &mut State) {
        if state.started < 2 {
            return;
        }
        let moving = state.under_way.values().map(|moving| moving.moved);
        let moved = state.moved + moving.sum::<u64>();
        let total = state.total.get_or_insert_with(|| {
            let bar = ProgressBar::new(0).with_style(self.styles.total.clone());
            self.console.bars().add(bar)
        });
        total.set_prefix(format!("{} blobs", state.started));
        total.set_length(state.size.max(moved));
        total.set_position(moved);
    }
}

impl Progress for Bars {
    fn start(&self, blob: &Digest, total: Option<u64>) {
        let mut state = lock(&self.state);
        state.begun.get_or_insert_with(Instant::now);
        if let Some(moving) = state.under_way.get_mut(blob) {
            moving.moved = 0;
            if let Some(bar) = &moving.bar {
                bar.reset();
            }
            return;
        }
        let bar = self.bar(&state, blob, total);
        state.started += 1;
        state.size += total.unwrap_or_default();
        let moving = Moving {
            bar,
            size: total,
            moved: 0,
        };
        state.under_way.insert(*blob, moving);
        self.show_total(&mut state);
    }

    fn advance(&self, blob: &Digest, bytes: u64) {
        let mut state = lock(&self.state);
        let Some(moving) = state.under_way.get_mut(blob) else {
            return;
        };
        moving.moved += bytes;
        if let Some(bar) = &moving.bar {
            bar.inc(bytes);
        }
        if let Some(total) = &state.total {
            total.inc(bytes);
        }
    }

    fn finish(&self, blob: &Digest) {
        let mut state = lock(&self.state);
        let Some(moving) = state.under_way.remove(blob) else {
            return;
        };
        // A finished bar leaves the cursor after it, where the next program
        // would continue to write; the line at the end does not.
        if let Some(bar) = moving.bar {
            bar.finish_and_clear();
        }
        // A blob that exists needs no bytes, and its size is not to be waited for.
        let left = moving.size.unwrap_or_default().saturating_sub(moving.moved);
        state.size = state.size.saturating_sub(left);
        state.moved += moving.moved;
        state.label = short(&self.label.of(blob));
        self.label.count(&mut state.tally, blob, moving.moved);
        self.show_total(&mut state);
    }

    fn skip(&self, blob: &Digest, _: u64, why: Skipped) {
        let mut state = lock(&self.state);
        state.begun.get_or_insert_with(Instant::now);
        // Images that exist may share a blob.
        if why != Skipped::Existed || state.existed.insert(*blob) {
            state.tally.skipped(why);
        }
        let Some(moving) = state.under_way.remove(blob) else {
            return;
        };
        if let Some(bar) = moving.bar {
            bar.finish_and_clear();
        }
        state.size = state.size.saturating_sub(moving.size.unwrap_or_default());
        state.started -= 1;
        self.show_total(&mut state);
    }

    fn prepare(&self, what: &str, done: u64, total: Option<u64>) {
        let mut state = lock(&self.state);
        let Some(reading) = state.prepared.get_mut(what) else {
            let (begun, bar) = (Instant::now(), None);
            let reading = Preparing { begun, bar };
            state.prepared.insert(what.to_string(), reading);
            return;
        };
        if let Some(bar) = &reading.bar {
            bar.set_position(done);
        } else if reading.begun.elapsed() >= PATIENCE {
            let bar = self.add(&state, format!("reading {}", short(what)), total);
            bar.set_position(done);
            if let Some(reading) = state.prepared.get_mut(what) {
                reading.bar = Some(bar);
            }
        }
    }

    fn prepared(&self, what: &str) {
        let reading = lock(&self.state).prepared.remove(what);
        if let Some(bar) = reading.and_then(|reading| reading.bar) {
            bar.finish_and_clear();
        }
    }
}

/// The sum comes at the end, when no blob can follow; after a failure an error
/// stands alone.
impl Drop for Bars {
    fn drop(&mut self) {
        let state = lock(&self.state);
        if let Some(total) = &state.total {
            total.finish_and_clear();
        }
        if state.tally.count() == 0 || !state.under_way.is_empty() {
            return;
        }
        let took = state.begun.map(|begun| begun.elapsed()).unwrap_or_default();
        if let Some(mut sum) = self.label.sum(&state.tally, took) {
            if state.tally.is_one_move() {
                let bytes = state.tally.bytes();
                let rate = rate(bytes, took).unwrap_or_default();
                sum = format!("{} 100% {}{rate}", state.label, size::show(bytes));
            }
            self.console.raw(&sum);
        }
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
    begun: Instant,
    under_way: Mutex<HashMap<Digest, Line>>,
    reading: Mutex<HashMap<String, Instant>>,
    tally: Mutex<Tally>,
    existed: Mutex<HashSet<Digest>>,
}

/// What was last written of a blob.
struct Line {
    total: Option<u64>,
    done: u64,
    begun: Instant,
    written: Instant,
    percent: u64,
}

/// Between the first and the last line of a blob, one is written after this time.
const PAUSE: Duration = Duration::from_secs(10);

impl Lines {
    fn new(console: Console, label: Label) -> Lines {
        Lines {
            console,
            label,
            begun: Instant::now(),
            under_way: Mutex::default(),
            reading: Mutex::default(),
            tally: Mutex::default(),
            existed: Mutex::default(),
        }
    }

    /// The last line of a blob: what a retry or a mount saved counts as done.
    fn end(&self, blob: &Digest, mut line: Line) {
        line.percent = 100;
        line.done = line.total.unwrap_or(line.done);
        self.write(blob, &line);
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
        if line.written.elapsed() >= PAUSE {
            line.percent = line.part();
            line.written = Instant::now();
            self.write(blob, line);
        }
    }

    fn finish(&self, blob: &Digest) {
        if let Some(line) = lock(&self.under_way).remove(blob) {
            let size = line.total.unwrap_or(line.done);
            self.label.count(&mut lock(&self.tally), blob, size);
            self.end(blob, line);
        }
    }

    fn skip(&self, blob: &Digest, _: u64, why: Skipped) {
        if why != Skipped::Existed || lock(&self.existed).insert(*blob) {
            lock(&self.tally).skipped(why);
        }
        if let Some(line) = lock(&self.under_way).remove(blob) {
            self.end(blob, line);
        }
    }

    fn prepare(&self, what: &str, done: u64, total: Option<u64>) {
        let mut reading = lock(&self.reading);
        let Some(written) = reading.get_mut(what) else {
            reading.insert(what.to_string(), Instant::now());
            return;
        };
        if written.elapsed() >= PAUSE {
            *written = Instant::now();
            let total = total.map(|total| format!("/{total}")).unwrap_or_default();
            self.console
                .line(&format!("{what}: {done}{total} bytes read"));
        }
    }

    fn prepared(&self, what: &str) {
        lock(&self.reading).remove(what);
    }
}

/// A blob that moved alone has said everything in its last line.
impl Drop for Lines {
    fn drop(&mut self) {
        let tally = lock(&self.tally);
        let is_told = tally.count() == 0 || tally.is_one_move();
        if is_told || !lock(&self.under_way).is_empty() {
            return;
        }
        if let Some(sum) = self.label.sum(&tally, self.begun.elapsed()) {
            self.console.raw(&sum);
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
    use crate::cli::out::label::Names;
    use crate::cli::out::tally::Verb;
    use crate::cli::tests::Shared;
    use dxf_registry::cache::Hits;

    fn shows(show: Show, console: &Console) -> Box<dyn Progress> {
        progress(show, console, label(Verb::Uploaded, &Hits::default()))
    }

    fn label(verb: Verb, hits: &Hits) -> Label {
        let (hits, names) = (hits.clone(), Names::default());
        Label::Blob { verb, hits, names }
    }

    fn shown(work: impl FnOnce(&dyn Progress, &Digest)) -> Vec<String> {
        let buffer = Shared::default();
        let console = Console::new(Box::new(buffer.clone()));
        work(&*shows(Show::Lines, &console), &Digest::of(b"abc"));
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
            lines[1].starts_with("sha256:ba7816bf: 100% 100000/100000 "),
            "{lines:?}"
        );
        assert_eq!(lines.len(), 2, "{lines:?}");
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
        assert_eq!(percents, ["0%", "0%", "100%"]);
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
    fn several_blobs_are_summed_up() {
        let summed = |work: &dyn Fn(&dyn Progress)| {
            let buffer = Shared::default();
            let console = Console::new(Box::new(buffer.clone()));
            let bars = shows(Show::Bars, &console);
            work(&*bars);
            drop(bars);
            buffer.text()
        };
        let blob = |n: usize| Digest::of(&n.to_le_bytes());
        let moved = |bars: &dyn Progress, n: usize| {
            bars.start(&blob(n), Some(1024));
            bars.advance(&blob(n), 1024);
            bars.finish(&blob(n));
        };
        let text = summed(&|bars| (0..20).for_each(|n| bars.start(&blob(n), Some(9))));
        assert_eq!(text, "", "nothing is done");
        let text = summed(&|bars| (0..12).for_each(|n| moved(bars, n)));
        let sum = "12 blobs: 12 uploaded, 12.0 KiB in 0.";
        assert!(text.starts_with(sum), "{text}");
        let text = summed(&|bars| {
            (0..3).for_each(|n| moved(bars, n));
            bars.start(&blob(4), Some(9));
            bars.skip(&blob(4), 9, Skipped::Mounted);
            bars.skip(&blob(5), 9, Skipped::Existed);
        });
        let sum = "5 blobs: 3 uploaded, 1 mounted, 1 already there, 3.0 KiB in ";
        assert!(text.starts_with(sum), "{text}");
        let text = summed(&|bars| moved(bars, 1));
        assert!(
            text.starts_with("sha256:") && text.contains(" 100% 1.0 KiB"),
            "{text}"
        );
    }

    #[test]
    fn blobs_from_the_cache_are_not_downloaded() {
        let (buffer, hits) = (Shared::default(), Hits::default());
        let console = Console::new(Box::new(buffer.clone()));
        hits.add(&Digest::of(b"a"));
        for show in [Show::Bars, Show::Lines] {
            let shown = progress(show, &console, label(Verb::Downloaded, &hits));
            for bytes in [&b"a"[..], b"bc"] {
                let digest = Digest::of(bytes);
                shown.start(&digest, Some(bytes.len() as u64));
                shown.advance(&digest, bytes.len() as u64);
                shown.finish(&digest);
            }
        }
        let text = buffer.text();
        let sum = "2 blobs: 1 downloaded, 1 from the cache, 2 B in 0.0 s";
        assert_eq!(text.matches(sum).count(), 2, "{text}");
    }

    #[test]
    fn silence_is_silent() {
        let buffer = Shared::default();
        let console = Console::new(Box::new(buffer.clone()));
        let quiet = shows(Show::Nothing, &console);
        quiet.start(&Digest::of(b""), None);
        quiet.finish(&Digest::of(b""));
        assert_eq!(buffer.text(), "");
    }
}
