//! What is kept of calls beside the connection table: written with their templates, and gone with them.

mod common;

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use common::{instance_name, pinned_maps};
use rvs_config::{Director, Service};
use rvs_dataplane::{Dataplane, Origin};
use rvs_lab::{Family, Lab, Topology, Vip, wait_until};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const PATIENCE: Duration = Duration::from_secs(20);
const KEY: usize = size_of::<rvs_abi::CallKey>();
const CALL: usize = size_of::<rvs_abi::Call>();

/// How many calls are kept.
fn kept(director: &Director) -> usize {
    let pin = pinned_maps(director).join("CALLS");
    let map = Map::HashMap(MapData::from_pin(pin).expect("a map"));
    let map: HashMap<MapData, [u8; KEY], [u8; CALL]> = map.try_into().expect("its sizes");
    map.keys().count()
}

#[test]
fn calls_are_kept_with_their_templates() -> Outcome {
    let lab = Lab::new()?;
    let net = Topology::with_real_servers(&lab, 1)?;
    let instance = instance_name("calls");
    let interfaces = ["eth0", "eth1"].map(|name| name.parse().expect("an interface name"));
    let director = Director::new(instance.parse()?, interfaces.to_vec());
    let (mut dataplane, _) = net.director.in_namespace(|| Dataplane::open(&director))??;
    // What is pinned outlives the namespaces: it is removed also when an assertion fails.
    let outcome = catch_unwind(AssertUnwindSafe(|| -> Outcome {
        let mut services = Vec::new();
        for family in Family::ALL {
            let at = SocketAddr::new(Vip::Nat.address(family), 5060);
            let server = Topology::inside_address(0, family);
            let service: Service = serde_json::from_str(&format!(
                r#"{{"address": "udp://{at}", "one_packet": true,
                    "persistence": {{"timeout": 2, "engine": "sip"}},
                    "method": "nat", "servers": [{{"address": "{}"}}]}}"#,
                SocketAddr::new(server, 5060)
            ))?;
            dataplane.add_service(&service, Origin::Runtime)?;
            services.push(at);
        }
        dataplane.publish_all();
        for at in &services {
            for number in 0..100 {
                let said = format!("BYE sip:a SIP/2.0\r\nCall-ID: {number}@a\r\n\r\n");
                net.client.udp_socket(None, *at)?.send(said.as_bytes())?;
            }
        }
        wait_until("the calls", PATIENCE, || kept(&director) == 200)?;
        let connections = dataplane.connections();
        assert_eq!(connections.len(), 200);
        for at in &services {
            for number in 0..100 {
                let call = Some(format!("{number}@a"));
                let found = connections
                    .iter()
                    .filter(|one| one.service == *at && one.call == call)
                    .count();
                assert_eq!(found, 1, "{call:?} at {at}");
            }
        }
        wait_until("their end", PATIENCE, || {
            dataplane.tick();
            dataplane.connections().is_empty()
        })?;
        wait_until("what is kept of them to go", PATIENCE, || {
            dataplane.tick();
            kept(&director) == 0
        })?;
        Ok(())
    }));
    net.director.in_namespace(|| dataplane.detach())??;
    match outcome {
        Ok(outcome) => outcome,
        Err(panic) => resume_unwind(panic),
    }
}
