//! The firewall's chains, as `nft` prints them, and the old iptables' tables.

use std::fs;

use serde::Deserialize;

use super::super::facts::Chain;

/// The hooks that a packet no longer meets once RVS took it at tc's ingress or before.
const HOOKS: [&str; 5] = ["ingress", "prerouting", "input", "forward", "postrouting"];

/// The chains at hooks; none where `nft` is not installed or finds none.
pub(super) fn chains() -> Vec<Chain> {
    super::output("nft", &["-j", "list", "ruleset"])
        .map(|text| read(&text))
        .unwrap_or_default()
}

/// The tables of the old iptables that the kernel holds.
pub(super) fn old_tables() -> Vec<String> {
    ["/proc/net/ip_tables_names", "/proc/net/ip6_tables_names"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[derive(Deserialize)]
struct Ruleset {
    nftables: Vec<Item>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    chain: Option<ChainItem>,
    rule: Option<RuleItem>,
}

#[derive(Deserialize)]
struct ChainItem {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct RuleItem {
    family: String,
    table: String,
    chain: String,
}

fn read(text: &str) -> Vec<Chain> {
    let Ok(ruleset) = serde_json::from_str::<Ruleset>(text) else {
        return Vec::new();
    };
    let chains = ruleset
        .nftables
        .iter()
        .filter_map(|item| item.chain.as_ref());
    chains
        .filter_map(|chain| {
            let hook = chain.hook.as_ref()?;
            if !HOOKS.contains(&hook.as_str()) || chain.family == "bridge" || chain.family == "arp"
            {
                return None;
            }
            let rules = ruleset
                .nftables
                .iter()
                .filter_map(|item| item.rule.as_ref())
                .filter(|rule| {
                    (&rule.family, &rule.table, &rule.chain)
                        == (&chain.family, &chain.table, &chain.name)
                })
                .count();
            Some(Chain {
                family: chain.family.clone(),
                table: chain.table.clone(),
                name: chain.name.clone(),
                hook: hook.clone(),
                drops: chain.policy.as_deref() == Some("drop"),
                rules,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_at_hooks_are_read() {
        let text = r#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"table": {"family": "inet", "name": "filter", "handle": 1}},
            {"chain": {"family": "inet", "table": "filter", "name": "forward", "handle": 1,
                       "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "filter", "name": "output", "handle": 2,
                       "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
            {"chain": {"family": "inet", "table": "filter", "name": "called", "handle": 3}},
            {"chain": {"family": "bridge", "table": "b", "name": "f", "handle": 1, "hook": "forward"}},
            {"rule": {"family": "inet", "table": "filter", "chain": "forward", "handle": 4, "expr": []}},
            {"rule": {"family": "inet", "table": "other", "chain": "forward", "handle": 4, "expr": []}}
        ]}"#;
        assert_eq!(
            read(text),
            [Chain {
                family: "inet".to_owned(),
                table: "filter".to_owned(),
                name: "forward".to_owned(),
                hook: "forward".to_owned(),
                drops: true,
                rules: 1,
            }]
        );
    }

    #[test]
    fn what_is_not_understood_is_nothing() {
        for text in [
            "",
            "{}",
            "[]",
            "{\"nftables\": 1}",
            "{\"nftables\": [{\"chain\": {}}]}",
        ] {
            assert_eq!(read(text), []);
        }
    }
}
