//! `DXF_LOG=http`: one line an exchange; and the warnings of registries, which
//! are shown without being asked for (distribution-spec, "Warnings").

use dxf_registry::http::{Exchange, Observer};

use crate::cli::interrupt::Interrupt;
use crate::cli::out::bars::Show;
use crate::cli::out::console::Console;

/// Which exchanges are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Log {
    /// None.
    Off,
    /// All.
    Http,
}

/// Writes what the library observes to standard error.
pub struct Logger {
    console: Console,
    log: Log,
    show: Show,
    interrupt: Interrupt,
}

impl Logger {
    /// Writes to `console` what `log` asks for, and where progress is shown
    /// what there is to wait for; `interrupt` remembers what can be resumed.
    pub fn new(console: &Console, log: Log, show: Show, interrupt: &Interrupt) -> Logger {
        Logger {
            console: console.clone(),
            log,
            show,
            interrupt: interrupt.clone(),
        }
    }
}

impl Observer for Logger {
    fn exchange(&self, exchange: &Exchange<'_>) {
        if self.log == Log::Http {
            self.console.line(&format!("http: {exchange}"));
        }
    }

    fn warning(&self, text: &str) {
        self.console.warn(text);
    }

    fn waiting(&self, text: &str) {
        // A script is promised one line of a failure.
        if self.show != Show::Nothing {
            self.console.warn(text);
        }
    }

    fn resumable(&self) {
        self.interrupt.keep();
    }
}
