//! Prints the manual's picture of Maglev's evenness (docs/src/maglev.svg), drawn from the real builder: how much more than
//! its fair share the busiest server has, by number of servers, with IPVS's table and with the usual one.

use rvs_abi::Scheduler;
use rvs_core::schedule::build::{Candidate, MAGLEV, MAGLEV_EXACT, fill};

const COUNTS: [u16; 10] = [10, 20, 50, 100, 200, 300, 400, 600, 800, 1000];
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
/// The top of the picture, in percent.
const TOP: f64 = 30.0;

fn main() {
    println!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="-50 -20 660 310" font-family="sans-serif" font-size="12">"#
    );
    println!(r#"<rect x="-50" y="-20" width="660" height="310" fill="white"/>"#);
    for percent in [0.0, 10.0, 20.0, 30.0] {
        let y = HEIGHT - percent / TOP * HEIGHT;
        println!(r##"<path d="M0 {y}H{WIDTH}" stroke="#ccc"/>"##);
        println!(r#"<text x="-8" y="{y}" text-anchor="end">{percent} %</text>"#);
    }
    for servers in [0.0, 250.0, 500.0, 750.0, 1000.0] {
        let x = servers / 1000.0 * WIDTH;
        println!(r#"<text x="{x}" y="258" text-anchor="middle">{servers}</text>"#);
    }
    println!(r#"<text x="280" y="280" text-anchor="middle">servers</text>"#);
    for (size, colour, y) in [(MAGLEV_EXACT, "#c33", 20), (MAGLEV, "#36c", 38)] {
        let point = |count: u16| {
            let x = f64::from(count) / 1000.0 * WIDTH;
            let y = HEIGHT - excess(size, count) / TOP * HEIGHT;
            format!("{x:.1},{y:.1}")
        };
        let points: Vec<String> = COUNTS.into_iter().map(point).collect();
        let points = points.join(" ");
        println!(r#"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>"#);
        println!(r#"<text x="20" y="{y}" fill="{colour}">{size} entries</text>"#);
    }
    println!("</svg>");
}

/// How much more than a fair share the busiest of `count` servers has, in percent.
fn excess(size: u32, count: u16) -> f64 {
    let candidate = |number: u16| Candidate::new([u32::from(number), 0, 0, 0], 80, number, 1);
    let mut candidates: Vec<Candidate> = (0..count).map(candidate).collect();
    let mut entries = vec![0; size as usize];
    fill(Scheduler::Mh, false, &mut candidates, &mut entries);
    let mut shares = vec![0_u32; usize::from(count)];
    for entry in entries {
        if let Some(share) = shares.get_mut(usize::from(entry)) {
            *share += 1;
        }
    }
    let most = shares.into_iter().max().map_or(0.0, f64::from);
    (most * f64::from(count) / f64::from(size) - 1.0) * 100.0
}
