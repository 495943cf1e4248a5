//! The short form of the end-to-end tests, which the guest runs too, on the oldest kernel: every method, family and
//! protocol, a transfer each way, and a daemon that is killed and started again.

mod common;

use std::time::Duration;

use common::{Cluster, Forward, Outcome, in_guest};
use rvs_config::Method;
use rvs_lab::EchoConnection;

/// For one answer.
fn patience() -> Duration {
    Duration::from_secs(if in_guest() { 60 } else { 20 })
}

/// Every method and family carries TCP, UDP and a transfer each way; the connections outlive the daemon.
#[test]
fn everything_in_short() -> Outcome {
    let mut cluster =
        Cluster::full("connections = \"4Ki\"\nconnections_v6 = \"4Ki\"\ntimeouts.udp = \"10m\"")?;
    let client = &cluster.net.client;
    let mut open = Vec::new();
    for forward in Forward::all() {
        for expected in ["rs3", "rs2", "rs1"] {
            let said = client.get(forward.at(80), "/id")?;
            assert_eq!(
                said.trim(),
                expected,
                "{forward:?}: round robin, newest first"
            );
        }
        let said = client.udp_exchange(None, forward.at(53), "hello", patience())?;
        assert!(said.ends_with(": hello"), "{forward:?}: {said:?}");
        client.bulk_download(forward.at(5001), 256 << 10)?;
        client.bulk_upload(forward.at(5001), 256 << 10)?;
        open.push(EchoConnection::open(client, forward.at(7))?);
    }
    for service in cluster
        .director
        .json("services")?
        .as_array()
        .ok_or("no list")?
    {
        let (stats, method) = (&service["stats"], &service["servers"][0]["method"]);
        assert!(stats["packets_in"].as_u64() > Some(0), "{service}");
        let sees_replies = method == &Method::Nat.to_string();
        assert_eq!(
            stats["packets_out"].as_u64() > Some(0),
            sees_replies,
            "{service}"
        );
    }

    let before = cluster.director.connections()?;
    assert!(before >= 6 * 7, "{before}");
    cluster.director.kill()?;
    for (number, connection) in open.iter_mut().enumerate() {
        connection.check_within(&format!("daemon dead {number}"), patience())?;
    }
    for forward in Forward::all() {
        let said = client.get(forward.at(80), "/id")?;
        assert!(said.starts_with("rs"), "{forward:?}: {said}");
    }
    cluster.director.run()?;
    let status = cluster.director.json("status")?;
    assert_eq!(status["adoption"]["adoption"], "adopted", "{status}");
    assert!(cluster.director.connections()? >= 6, "{status}");
    for (number, connection) in open.iter_mut().enumerate() {
        connection.check_within(&format!("daemon back {number}"), patience())?;
    }
    // Tunnels tell the client how much fits into them; else nothing was amiss.
    let amiss = |name: &str| {
        name.starts_with("drop_") || name.starts_with("answer_") && name != "answer_too_big"
    };
    let mut bad = cluster.director.counters()?;
    bad.retain(|name, _| amiss(name));
    assert!(bad.is_empty(), "{bad:?}");
    Ok(())
}
