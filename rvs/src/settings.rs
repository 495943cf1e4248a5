//! From the command line's options to the API's documents: changes of services, servers, time-outs and knobs.

use rvs_control::wire;
use serde_json::{Map, Value, json};

use crate::cli::{ServerOptions, ServiceOptions};

/// What is written for "no such thing".
const NONE: &str = "none";
/// What is written for "as if nothing had been said".
const DEFAULT: &str = "default";

/// The merge patch of a service's options.
pub(crate) fn service_patch(options: &ServiceOptions) -> Map<String, Value> {
    let mut patch = Map::new();
    if let Some(scheduler) = options.scheduler {
        patch.insert("scheduler".to_owned(), json!(scheduler));
    }
    if let Some(flags) = &options.flags {
        let words = flags
            .split(',')
            .filter(|word| !word.is_empty() && *word != NONE);
        patch.insert(
            "scheduler_flags".to_owned(),
            json!(words.collect::<Vec<_>>()),
        );
    }
    if let Some(persistence) = persistence_patch(options) {
        patch.insert("persistence".to_owned(), persistence);
    }
    for (field, value) in [
        ("one_packet", options.one_packet),
        ("move_udp", options.move_udp),
    ] {
        if let Some(value) = value {
            patch.insert(field.to_owned(), json!(value));
        }
    }
    if !options.timeouts.is_empty() {
        patch.insert("timeouts".to_owned(), timeouts_patch(&options.timeouts));
    }
    if !options.rules.is_empty() {
        let rules: Vec<&String> = options.rules.iter().filter(|rule| *rule != NONE).collect();
        patch.insert("match".to_owned(), json!(rules));
    }
    patch
}

fn persistence_patch(options: &ServiceOptions) -> Option<Value> {
    let absent = |text: &String| text == NONE;
    if options.persistence.as_ref().is_some_and(absent) {
        return Some(Value::Null);
    }
    let mut patch = Map::new();
    for (field, value) in [
        ("timeout", &options.persistence),
        ("netmask", &options.netmask),
        ("engine", &options.engine),
    ] {
        if let Some(text) = value {
            let value = if absent(text) {
                Value::Null
            } else {
                json!(text)
            };
            patch.insert(field.to_owned(), value);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// The merge patch of time-outs by their whole names.
pub(crate) fn timeouts_patch(settings: &[(String, String)]) -> Value {
    let mut patch = Value::Object(Map::new());
    for (name, value) in settings {
        let value = if value == DEFAULT {
            Value::Null
        } else {
            json!(value)
        };
        let step = match name.split_once('.') {
            Some((protocol, state)) => json!({ protocol: { state: value } }),
            None => json!({ name: value }),
        };
        join(&mut patch, step);
    }
    patch
}

/// Adds to a patch; its nulls stay.
fn join(patch: &mut Value, more: Value) {
    match (patch, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                join(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (place, more) => *place = more,
    }
}

/// The merge patch of knobs.
pub(crate) fn knobs_patch(settings: &[(String, String)]) -> Value {
    let value = |text: &str| match text.parse::<i64>() {
        Ok(number) => json!(number),
        Err(_) if text == DEFAULT => Value::Null,
        Err(_) => text
            .parse::<bool>()
            .map_or_else(|_| json!(text), |switch| json!(switch)),
    };
    settings
        .iter()
        .map(|(name, text)| (name.clone(), value(text)))
        .collect::<Map<_, _>>()
        .into()
}

/// The change of a server.
pub(crate) fn server_change(
    method: Option<rvs_config::Method>,
    options: ServerOptions,
) -> wire::ServerChange {
    wire::ServerChange {
        weight: options.weight,
        method,
        tunnel: options.tunnel,
        upper_threshold: options.upper_threshold,
        lower_threshold: options.lower_threshold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Ask, Cli, Command, Service};
    use clap::Parser;

    fn patch(words: &str) -> Value {
        let line = format!("rvs service set web {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).expect(words);
        let Command::Ask(Ask::Service(Service::Set { options, .. })) = cli.command else {
            panic!("{words}");
        };
        Value::Object(service_patch(&options))
    }

    #[test]
    fn options_become_patches() {
        for (words, expected) in [
            ("-s rr", json!({ "scheduler": "rr" })),
            (
                "-s sh -b sh-port,sh-fallback",
                json!({ "scheduler": "sh", "scheduler_flags": ["sh-port", "sh-fallback"] }),
            ),
            ("-b none", json!({ "scheduler_flags": [] })),
            ("-p", json!({ "persistence": { "timeout": "300s" } })),
            (
                "-p 60 -M /24 --engine sip",
                json!({ "persistence": { "timeout": "60", "netmask": "/24", "engine": "sip" } }),
            ),
            ("-p none -M /24", json!({ "persistence": null })),
            ("-M none", json!({ "persistence": { "netmask": null } })),
            (
                "--one-packet --move-udp=no",
                json!({ "one_packet": true, "move_udp": false }),
            ),
            (
                "--timeout tcp.established=1h --timeout tcp.close=default --timeout udp=5",
                json!({ "timeouts": { "tcp": { "established": "1h", "close": null }, "udp": "5" } }),
            ),
            (
                "--match tcp://10.0.0.1:80 --match any://10.0.0.2",
                json!({ "match": ["tcp://10.0.0.1:80", "any://10.0.0.2"] }),
            ),
            ("--match none", json!({ "match": [] })),
        ] {
            assert_eq!(patch(words), expected, "{words}");
        }
    }

    #[test]
    fn knobs_are_numbers_switches_or_texts() {
        let settings = [
            ("drop_entry", "1"),
            ("sloppy_tcp", "true"),
            ("lblc_expiration", "1h"),
            ("amemthresh", "default"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            knobs_patch(&settings),
            json!({ "drop_entry": 1, "sloppy_tcp": true, "lblc_expiration": "1h", "amemthresh": null })
        );
    }
}
