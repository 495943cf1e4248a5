//! Plans by example, and what holds for every plan.

use proptest::prelude::*;
use rvs_config::{Config, Persistence, PersistenceTimeout, Scheduler, Thresholds};

use super::*;
use crate::memory::Memory;

fn services(text: &str) -> Services {
    let text = format!("[director]\ninterfaces = [\"eth0\"]\n{text}");
    Config::parse(&text, "test")
        .expect("a configuration")
        .services
}

const WEB: &str = r#"
[[service]]
address = "tcp://10.0.0.100:80"
scheduler = "wrr"
method = "nat"
servers = ["10.1.0.21:80", { address = "10.1.0.22:80", weight = 2 }]
"#;

fn configured(text: &str) -> Memory {
    let mut memory = Memory::new();
    for service in &services(text) {
        memory
            .add_service(service, Origin::Configured)
            .expect("added");
    }
    memory
}

#[test]
fn equal_is_not_touched() {
    assert_eq!(reconcile(&services(WEB), &configured(WEB).services), []);
}

#[test]
fn a_changed_weight_is_one_step() {
    let changed = WEB.replace("weight = 2", "weight = 0");
    let plan = reconcile(&services(&changed), &configured(WEB).services);
    let [Change::SetServer { server, .. }] = plan.as_slice() else {
        panic!("{plan:?}");
    };
    assert_eq!(server.to_owned().weight().get(), 0);
}

#[test]
fn changed_options_are_one_step_and_touch_no_server() {
    for extra in [
        "persistence = 60",
        "persistence = { timeout = 60, netmask = \"/24\" }",
        "timeouts.tcp.established = \"1h\"",
        "scheduler_flags = [\"flag-3\"]",
    ] {
        let changed = format!("{WEB}{extra}\n");
        let plan = reconcile(&services(&changed), &configured(WEB).services);
        let [Change::SetOptions { options, .. }] = plan.as_slice() else {
            panic!("{plan:?}");
        };
        let wanted = services(&changed);
        assert_eq!(wanted.iter().next().map(Service::options), Some(options));
        assert_eq!(reconcile(&wanted, &configured(&changed).services), []);
    }
    let changed = WEB.replace("weight = 2", "weight = 2, upper_threshold = 5");
    let plan = reconcile(&services(&changed), &configured(WEB).services);
    assert!(matches!(plan.as_slice(), [Change::SetServer { .. }]));
}

#[test]
fn replaced_servers_come_before_the_old_ones_go() {
    let replaced = WEB.replace("10.1.0.2", "10.1.0.3");
    let plan = reconcile(&services(&replaced), &configured(WEB).services);
    let text: Vec<String> = plan
        .iter()
        .map(|change| match change {
            Change::AddServer { server, .. } => format!("+{}", server.socket_addr()),
            Change::RemoveServer { server, .. } => format!("-{server}"),
            Change::AddService { .. }
            | Change::SetOptions { .. }
            | Change::RemoveService { .. }
            | Change::SetServer { .. } => format!("{change:?}"),
        })
        .collect();
    assert_eq!(
        text,
        [
            "+10.1.0.31:80",
            "+10.1.0.32:80",
            "-10.1.0.21:80",
            "-10.1.0.22:80"
        ]
    );
}

#[test]
fn a_full_service_makes_room_first() {
    let list = |net: u8| {
        let servers: Vec<String> = (0..MAX_SERVERS)
            .map(|i| format!("\"10.{net}.{}.{}:80\"", i / 250, i % 250 + 1))
            .collect();
        format!(
            "[[service]]\naddress = \"tcp://10.0.0.100:80\"\nmethod = \"nat\"\nservers = [{}]\n",
            servers.join(", ")
        )
    };
    let mut memory = configured(&list(1));
    let wanted = services(&list(2));
    for change in reconcile(&wanted, &memory.services) {
        change.apply(&mut memory).expect("applied");
    }
    assert_eq!(reconcile(&wanted, &memory.services), []);
}

#[test]
fn what_was_added_at_run_time_stays() {
    let mut memory = configured(WEB);
    let extra = services(&WEB.replace("10.0.0.100", "10.0.0.101"));
    let extra = extra.iter().next().expect("one");
    memory.add_service(extra, Origin::Runtime).expect("added");
    let key = memory.services.first().expect("web").key;
    let server = services(&WEB.replace("10.1.0.21", "10.1.0.29"));
    let server = *server
        .get(key)
        .and_then(|service| service.servers().first())
        .expect("server");
    memory
        .add_server(&key, &server, Origin::Runtime)
        .expect("added");
    assert_eq!(reconcile(&services(WEB), &memory.services), []);
    let plan = reconcile(&Services::new(), &memory.services);
    assert_eq!(plan, [Change::RemoveService { key }]);
}

#[test]
fn a_removed_server_that_still_drains_is_added_again() {
    let mut memory = configured(WEB);
    for state in &mut memory.services.first_mut().expect("web").servers {
        state.draining_removed = state.server.weight().get() == 2;
    }
    let plan = reconcile(&services(WEB), &memory.services);
    assert!(
        matches!(plan.as_slice(), [Change::AddServer { server, .. }] if server.weight().get() == 2),
        "{plan:?}"
    );
}

/// A handful of services and servers, so that two draws often meet.
fn some_services() -> impl Strategy<Value = Services> {
    let server = (1..6_u8, 0..3_u64, 0..3_usize);
    let service = (1..4_u8, 0..4_usize, proptest::collection::vec(server, 0..5));
    proptest::collection::vec(service, 0..4).prop_map(|list| {
        let mut services = Services::new();
        for (host, scheduler, servers) in list {
            let key = format!("tcp://10.0.0.{host}:80").parse().expect("key");
            let mut options = ServiceOptions::new(Scheduler::ALL[scheduler]);
            if host == 2 {
                let timeout = PersistenceTimeout::from_secs(scheduler as u64 + 1);
                options.persistence = Some(Persistence::new(timeout.expect("in range")));
            }
            let mut service = Service::new(key, options).expect("options that fit");
            for (host, weight, method) in servers {
                let server = Server::new(
                    format!("10.1.0.{host}").parse().expect("address"),
                    key.port(),
                    rvs_config::Method::ALL[method],
                    rvs_config::Weight::new(weight).expect("weight"),
                )
                .expect("server")
                .with_thresholds(Thresholds::new(weight, 0).expect("in order"));
                // A second one with the same address is left out.
                let _ = service.add_server(server);
            }
            let _ = services.add(service);
        }
        services
    })
}

fn some_memory() -> impl Strategy<Value = Memory> {
    (some_services(), any::<u64>()).prop_map(|(services, bits)| {
        let mut memory = Memory::new();
        for service in &services {
            memory
                .add_service(service, Origin::Configured)
                .expect("added");
        }
        let mut bits = std::iter::successors(Some(bits), |bits| Some(bits.rotate_right(1)))
            .map(|bits| bits & 1 == 1);
        let mut origin = || match bits.next() {
            Some(true) => Origin::Runtime,
            Some(false) | None => Origin::Configured,
        };
        for service in &mut memory.services {
            service.origin = origin();
            for server in &mut service.servers {
                server.origin = origin();
            }
        }
        memory
    })
}

proptest! {
    #[test]
    fn a_plan_reaches_the_intent(wanted in some_services(), mut memory in some_memory()) {
        let before = memory.services.clone();
        for change in reconcile(&wanted, &memory.services) {
            change.apply(&mut memory).expect("every step of a plan can be done");
        }
        for service in &wanted {
            let state = memory.services.iter().find(|state| state.key == service.key());
            let state = state.expect("every wanted service is there");
            prop_assert_eq!(&state.options, service.options());
            for server in service.servers() {
                prop_assert!(state.servers.iter().any(|state| state.server == *server));
            }
            for state in &state.servers {
                prop_assert!(state.origin == Origin::Runtime
                    || service.server(state.server.socket_addr()).is_some());
            }
        }
        for state in &memory.services {
            prop_assert!(state.origin == Origin::Runtime || wanted.get(state.key).is_some());
        }
        for state in before.iter().filter(|state| state.origin == Origin::Runtime) {
            prop_assert!(memory.services.iter().any(|now| now.key == state.key));
        }
        prop_assert_eq!(reconcile(&wanted, &memory.services), []);
    }

    #[test]
    fn a_plan_undone_leaves_no_trace(
        wanted in some_services(),
        mut memory in some_memory(),
        steps in 0..20_usize,
    ) {
        let sorted = |mut services: Vec<ServiceState>| {
            services.sort_by_key(|service| service.key);
            for service in &mut services {
                service.servers.sort_by(|a, b| a.server.listing_order(&b.server));
            }
            services
        };
        let before = memory.services.clone();
        let plan = reconcile(&wanted, &before);
        let done: Vec<Change> = plan.into_iter().take(steps).collect();
        for change in &done {
            change.apply(&mut memory).expect("applied");
        }
        for undo in done.iter().rev().flat_map(|change| change.undo(&before)) {
            undo.apply(&mut memory).expect("undone");
        }
        prop_assert_eq!(sorted(memory.services), sorted(before));
    }
}
