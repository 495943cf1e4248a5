//! What is shown and how: the last sample, what moved since the one before, and what the keys have set. No terminal,
//! no clock.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::time::Duration;

use rvs_control::rates::Rates;
use rvs_control::wire::{Counter, Server, Service, Status};

/// How long a counter is shown after it last moved.
const AFTERGLOW: Duration = Duration::from_secs(10);

/// What a director said of itself at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Since this program started.
    pub(super) at: Duration,
    /// Seconds since 1970.
    pub(super) time: u64,
    pub(super) status: Status,
    pub(super) services: Vec<Service>,
    pub(super) counters: Vec<Counter>,
}

/// The keys that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// What comes after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Leave,
}

/// By what services, and the servers of each, are sorted: addresses upwards, quantities downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    Address,
    /// Open connections
    #[value(name = "open")]
    Connections,
    /// Connections a second
    #[default]
    #[value(name = "connections")]
    NewConnections,
    Packets,
    Bytes,
}

impl Sort {
    const ALL: [Sort; 5] = [
        Sort::Address,
        Sort::Connections,
        Sort::NewConnections,
        Sort::Packets,
        Sort::Bytes,
    ];

    /// The key that asks for it.
    const fn key(self) -> char {
        match self {
            Sort::Address => 'a',
            Sort::Connections => 'o',
            Sort::NewConnections => 'c',
            Sort::Packets => 'p',
            Sort::Bytes => 'b',
        }
    }

    /// What the first line calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Sort::Address => "address",
            Sort::Connections => "open connections",
            Sort::NewConnections => "connections a second",
            Sort::Packets => "packets a second",
            Sort::Bytes => "bytes a second",
        }
    }
}

/// A counter that moved lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moving {
    pub(super) name: String,
    pub(super) verdict: String,
    pub(super) help: String,
    pub(super) value: u64,
    pub(super) per_second: u64,
    moved: Duration,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'a> {
    Service(&'a Service),
    Server(&'a Server),
}

/// Everything that is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    sample: Option<Sample>,
    moving: Vec<Moving>,
    /// Why there is nothing newer.
    error: Option<String>,
    sort: Sort,
    reversed: bool,
    filter: String,
    typing: bool,
    paused: bool,
    folded: bool,
    scroll: usize,
    page: usize,
}

impl Model {
    /// One that has nothing to show yet.
    pub(super) fn new(sort: Sort, filter: String) -> Model {
        Model {
            sort,
            filter,
            ..Model::default()
        }
    }

    /// Takes a newer sample; none while it is paused.
    pub(super) fn take(&mut self, sample: Sample) {
        self.error = None;
        if self.paused {
            return;
        }
        if let Some(before) = &self.sample {
            self.moving = moving(&self.moving, before, &sample);
        }
        self.sample = Some(sample);
    }

    /// There is no newer sample.
    pub(super) fn fail(&mut self, error: String) {
        self.error = Some(error);
    }

    /// Does what a key asks for.
    pub(super) fn press(&mut self, key: Key) -> Next {
        if self.typing {
            match key {
                Key::Enter => self.typing = false,
                Key::Escape => (self.typing, self.filter) = (false, String::new()),
                Key::Backspace => drop(self.filter.pop()),
                Key::Char(letter) if !letter.is_control() => self.filter.push(letter),
                Key::Char(_)
                | Key::Up
                | Key::Down
                | Key::PageUp
                | Key::PageDown
                | Key::Home
                | Key::End => {}
            }
            return Next::Stay;
        }
        let page = self.page.max(1);
        match key {
            Key::Char('q') => return Next::Leave,
            // What hides something goes first.
            Key::Escape if self.filter.is_empty() => return Next::Leave,
            Key::Escape => self.filter.clear(),
            Key::Char(' ') => self.paused = !self.paused,
            Key::Char('/') => self.typing = true,
            Key::Char('r') => self.reversed = !self.reversed,
            Key::Char('s') => self.folded = !self.folded,
            Key::Char(letter) => {
                if let Some(sort) = Sort::ALL.into_iter().find(|sort| sort.key() == letter) {
                    (self.sort, self.reversed) = (sort, false);
                }
            }
            Key::Up => self.scroll = self.scroll.saturating_sub(1),
            Key::Down => self.scroll = self.scroll.saturating_add(1),
            Key::PageUp => self.scroll = self.scroll.saturating_sub(page),
            Key::PageDown => self.scroll = self.scroll.saturating_add(page),
            Key::Home => self.scroll = 0,
            Key::End => self.scroll = usize::MAX,
            Key::Enter | Key::Backspace => {}
        }
        Next::Stay
    }

    /// Says how many rows fit, so that scrolling ends where the rows do.
    pub(super) fn fit(&mut self, rows: usize) {
        self.page = rows;
        let most = self.rows().len().saturating_sub(rows);
        self.scroll = self.scroll.min(most);
    }

    /// The rows from the first that is in sight.
    pub(super) fn visible(&self) -> Vec<Row<'_>> {
        let mut rows = self.rows();
        rows.split_off(self.scroll.min(rows.len()))
    }

    /// All rows: each service and, unless they are folded away, its servers.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let Some(sample) = &self.sample else {
            return Vec::new();
        };
        let wanted = self.filter.to_lowercase();
        let mut services: Vec<&Service> = sample.services.iter().collect();
        services.sort_by(|a, b| {
            self.order(
                service_measure(a, self.sort),
                service_measure(b, self.sort),
                a.address.cmp(&b.address),
            )
        });
        let mut rows = Vec::new();
        for service in services {
            let itself = wanted.is_empty() || named(service).to_lowercase().contains(&wanted);
            let mut servers: Vec<&Server> = service
                .servers
                .iter()
                .filter(|server| itself || server.address.to_string().contains(&wanted))
                .collect();
            if !itself && servers.is_empty() {
                continue;
            }
            servers.sort_by(|a, b| {
                self.order(
                    server_measure(a, self.sort),
                    server_measure(b, self.sort),
                    a.address.cmp(&b.address),
                )
            });
            rows.push(Row::Service(service));
            if !self.folded {
                rows.extend(servers.into_iter().map(Row::Server));
            }
        }
        rows
    }

    pub(super) fn sample(&self) -> Option<&Sample> {
        self.sample.as_ref()
    }

    /// The counters that moved lately: drops first, then those that move most.
    pub(super) fn moving(&self) -> &[Moving] {
        &self.moving
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn sort(&self) -> Sort {
        self.sort
    }

    pub(super) fn is_reversed(&self) -> bool {
        self.reversed
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn is_typing(&self) -> bool {
        self.typing
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    fn order(&self, a: u64, b: u64, addresses: Ordering) -> Ordering {
        let order = b.cmp(&a).then(addresses);
        if self.reversed {
            order.reverse()
        } else {
            order
        }
    }
}

/// A service's address and name.
pub(super) fn named(service: &Service) -> String {
    match &service.name {
        Some(name) => format!("{} {name}", service.address),
        None => service.address.to_string(),
    }
}

fn service_measure(service: &Service, sort: Sort) -> u64 {
    measure(sort, service.active + service.inactive, &service.rates)
}

fn server_measure(server: &Server, sort: Sort) -> u64 {
    measure(
        sort,
        u64::from(server.active) + u64::from(server.inactive),
        &server.rates,
    )
}

fn measure(sort: Sort, open: u64, rates: &Rates) -> u64 {
    match sort {
        Sort::Address => 0,
        Sort::Connections => open,
        Sort::NewConnections => rates.connections,
        Sort::Packets => rates.packets_in.saturating_add(rates.packets_out),
        Sort::Bytes => rates.bytes_in.saturating_add(rates.bytes_out),
    }
}

fn moving(known: &[Moving], before: &Sample, now: &Sample) -> Vec<Moving> {
    let old: BTreeMap<&str, u64> = before
        .counters
        .iter()
        .map(|counter| (counter.name.as_str(), counter.value))
        .collect();
    let milliseconds = now.at.saturating_sub(before.at).as_millis().max(1);
    let moved_before = |name: &str| {
        known
            .iter()
            .find(|moving| moving.name == name)
            .map(|moving| moving.moved)
    };
    let mut moving: Vec<Moving> = now
        .counters
        .iter()
        .filter_map(|counter| {
            // A counter that is new, or fell since another daemon counts, has no difference.
            let last = *old.get(counter.name.as_str())?;
            let delta = counter.value.saturating_sub(last);
            let moved = match delta {
                0 => moved_before(&counter.name)
                    .filter(|moved| now.at.saturating_sub(*moved) <= AFTERGLOW)?,
                _ => now.at,
            };
            let per_second = (u128::from(delta) * 1000).div_ceil(milliseconds);
            Some(Moving {
                name: counter.name.clone(),
                verdict: counter.verdict.clone(),
                help: counter.help.clone(),
                value: counter.value,
                per_second: u64::try_from(per_second).unwrap_or(u64::MAX),
                moved,
            })
        })
        .collect();
    let rank = |verdict: &str| {
        ["drop", "answer", "note", "pass"]
            .iter()
            .position(|&known| known == verdict)
    };
    moving.sort_by_cached_key(|moving| {
        (
            rank(&moving.verdict).unwrap_or(usize::MAX),
            Reverse(moving.per_second),
            moving.name.clone(),
        )
    });
    moving
}
