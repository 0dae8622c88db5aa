//! The world's log lines: the errors among them are kept for the report; the rest is printed on demand, with virtual times.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::time::Duration;

use madsim::time::TimeHandle;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{filter_fn, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::EnvFilter;

/// Errors that are kept.
const ERRORS_MAX: usize = 1_000;

/// A line that says that something is in error.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Virtual time.
    pub at: Duration,
    pub line: String,
}

thread_local! {
    /// The kept errors of the world that runs on this thread.
    static ERRORS: RefCell<Vec<Logged>> = const { RefCell::new(vec![]) };
}

/// Installs the subscriber of this process. A filter that cannot be parsed lets everything through.
pub fn install(filter: Option<&str>) {
    // Events only: madsim enters a span at each poll, which nobody is to pay for but who prints.
    let errors = filter_fn(|metadata| metadata.is_event() && *metadata.level() == Level::ERROR);
    let keep = Keep.with_filter(errors.with_max_level_hint(LevelFilter::ERROR));
    let printed = filter.map(|filter| {
        let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("trace"));
        tracing_subscriber::fmt::layer().with_timer(Virtual).with_ansi(false).with_filter(filter)
    });
    // A second run in one process keeps the first one's subscriber.
    let _ = tracing_subscriber::registry().with(keep).with(printed).try_init();
}

/// What was kept on this thread.
pub fn taken() -> Vec<Logged> {
    ERRORS.take()
}

struct Virtual;

impl FormatTime for Virtual {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = TimeHandle::try_current().map_or(0.0, |time| time.elapsed().as_secs_f64());
        write!(w, "{now:11.6}s")
    }
}

struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let at = TimeHandle::try_current().map_or(Duration::ZERO, |time| time.elapsed());
        let mut line = Line(format!("{:.3}s {}:", at.as_secs_f64(), event.metadata().target()));
        event.record(&mut line);
        ERRORS.with_borrow_mut(|errors| {
            if errors.len() < ERRORS_MAX {
                errors.push(Logged { at, line: line.0 });
            }
        });
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
