//! `rvs top`: a director's services, servers and moving counters, as they are now and now again.
//!
//! What is shown is decided in `model`, how it looks in `view`; here are the terminal, the keys, the signals and the
//! director's socket. Where there is no terminal, one frame is printed as text.

mod model;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;
use rvs_control::client::{Client, ClientError};
use rvs_control::events::seconds;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::commands::explain;
use crate::selection::Selection;
use crate::show::Form;
use model::{Key, Model, Next, Sample, Sort};

/// How wide a frame is that is printed as text.
const TEXT_WIDTH: u16 = 120;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one frame as text, as is done where there is no terminal
    #[arg(long)]
    once: bool,
    /// Seconds from one frame to the next
    #[arg(long, short, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// By what to sort
    #[arg(long, short, value_enum, default_value_t)]
    sort: Sort,
    /// Only services and servers whose address or name contains this
    #[arg(long, short, value_name = "TEXT", default_value = "")]
    filter: String,
}

/// Shows the director until told to stop, or once.
pub(crate) fn run(args: &Args, selection: &Selection, form: Form) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = selection.client();
    let interval = Duration::from_secs(args.interval);
    let live =
        !args.once && form == Form::Text && io::stdout().is_terminal() && io::stdin().is_terminal();
    let mut model = Model::new(args.sort, args.filter.clone());
    let begin = Instant::now();
    runtime.block_on(async {
        // A director that does not answer is an error before the terminal is taken over.
        let first = sample(&client, begin)
            .await
            .map_err(|error| anyhow!(explain(&error)))?;
        if form == Form::Json {
            return print(&format!("{}\n", document(&first)));
        }
        model.take(first);
        if live {
            return watch(&mut model, &client, begin, interval).await;
        }
        // Two samples, so that counters are seen to move.
        tokio::time::sleep(interval).await;
        let second = sample(&client, begin)
            .await
            .map_err(|error| anyhow!(explain(&error)))?;
        model.take(second);
        print(&view::text(&model, TEXT_WIDTH))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn document(sample: &Sample) -> serde_json::Value {
    json!({
        "status": sample.status,
        "services": sample.services,
        "counters": sample.counters,
    })
}

async fn sample(client: &Client, begin: Instant) -> Result<Sample, ClientError> {
    Ok(Sample {
        status: client.get("/v1/status").await?,
        services: client.get("/v1/services").await?,
        counters: client.get("/v1/counters").await?,
        at: begin.elapsed(),
        time: seconds(SystemTime::now()),
    })
}

/// What wakes the live view.
enum Wake {
    Sampled(Result<Box<Sample>, ClientError>),
    Pressed(Key),
    /// The terminal has another size, or was asked to be drawn anew.
    Redraw,
    Leave,
}

/// Shows frames until told to stop. The terminal is as it was afterwards, whatever ended this.
async fn watch(
    model: &mut Model,
    client: &Client,
    begin: Instant,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut ends = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ];
    let (wake, mut wakes) = mpsc::channel(16);
    tokio::spawn(keep_sampling(client.clone(), begin, interval, wake.clone()));
    let mut screen = Screen::take()?;
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || read_keys(&wake))?;
    let [terminate, interrupt, hangup] = &mut ends;
    loop {
        screen.draw(model)?;
        let woken = tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            woken = wakes.recv() => woken,
        };
        match woken {
            Some(Wake::Sampled(Ok(sample))) => model.take(*sample),
            Some(Wake::Sampled(Err(error))) => model.fail(explain(&error)),
            Some(Wake::Pressed(key)) => match model.press(key) {
                Next::Stay => {}
                Next::Leave => return Ok(()),
            },
            Some(Wake::Redraw) => screen.0.clear()?,
            Some(Wake::Leave) | None => return Ok(()),
        }
    }
}

async fn keep_sampling(
    client: Client,
    begin: Instant,
    interval: Duration,
    wake: mpsc::Sender<Wake>,
) {
    loop {
        tokio::time::sleep(interval).await;
        let sampled = sample(&client, begin).await.map(Box::new);
        if wake.send(Wake::Sampled(sampled)).await.is_err() {
            return;
        }
    }
}

/// The terminal, which gets back what it was: when this is dropped, and before the message of a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Screen> {
        ratatui::try_init().map(Screen)
    }

    fn draw(&mut self, model: &mut Model) -> io::Result<()> {
        self.0.draw(|frame| {
            let area: Rect = frame.area();
            model.fit(view::rows_in(area, model));
            view::draw(model, area, frame.buffer_mut());
        })?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}

/// Hands on what is typed, until nobody listens. A terminal that cannot be read ends the view.
fn read_keys(wake: &mpsc::Sender<Wake>) {
    loop {
        let woken = match event::read() {
            Ok(Event::Key(key)) => meaning(key),
            Ok(Event::Resize(_, _)) => Some(Wake::Redraw),
            Ok(Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_)) => None,
            Err(_) => Some(Wake::Leave),
        };
        let ends = matches!(woken, Some(Wake::Leave));
        if let Some(woken) = woken
            && (wake.blocking_send(woken).is_err() || ends)
        {
            return;
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most keys of a terminal mean nothing here"
)]
fn meaning(key: KeyEvent) -> Option<Wake> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Wake::Leave),
            KeyCode::Char('l') => Some(Wake::Redraw),
            _ => None,
        };
    }
    let key = match key.code {
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        _ => return None,
    };
    Some(Wake::Pressed(key))
}
