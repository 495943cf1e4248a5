//! The load gate: the running kernel's verifier takes every program, within the budget of
//! instructions and stack. The suite runs it on the machine's kernel and, in the guest, on the
//! oldest that RVS supports.

mod chains;

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::AsRawFd as _,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    programs::{Program, ProgramError, Xdp},
};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Instructions that the verifier may walk over in one program.
const INSTRUCTIONS: u32 = 100_000;
/// Bytes of stack that a program's deepest chain of calls may take. The kernel refuses 512.
const STACK: u32 = 384;
/// The programs; one that is added must be added here.
const PROGRAMS: [&str; 20] = [
    "rvs_clock",
    "rvs_decapsulate",
    "rvs_express",
    "rvs_express_v6",
    "rvs_fragment",
    "rvs_ftp",
    "rvs_icmp_error",
    "rvs_ingress",
    "rvs_ingress_l3",
    "rvs_insert",
    "rvs_ipsec",
    "rvs_local",
    "rvs_local_l3",
    "rvs_newcomer",
    "rvs_opened",
    "rvs_persist",
    "rvs_sip",
    "rvs_started",
    "rvs_sweep",
    "rvs_unfollowed",
];

#[test]
fn every_program_loads_within_the_budget_of_instructions() {
    let _alone = alone();
    let mut bpf = open();
    let mut verified = BTreeMap::new();
    for (name, program) in bpf.programs_mut() {
        if let Err(error) = load(program) {
            panic!("{name}: {error}");
        }
        let info = program.info().expect("the program's information");
        let count = info
            .verified_instruction_count()
            .expect("Linux 5.16 counts them");
        println!("{name}: {count} instructions verified");
        verified.insert(name.to_owned(), count);
    }
    assert_eq!(verified.keys().collect::<Vec<_>>(), PROGRAMS);
    for (name, count) in verified {
        // The smallest walks over dozens; none at all would be a number that is not given.
        assert!(count > 20, "{name}: {count}");
        assert!(
            count <= INSTRUCTIONS,
            "{name}: {count} instructions, {INSTRUCTIONS} allowed"
        );
    }
}

#[test]
fn every_function_stays_within_the_budget_of_stack() {
    let _alone = alone();
    for name in PROGRAMS {
        let log = statistics(name);
        let line = log
            .lines()
            .find_map(|line| line.strip_prefix("stack depth "))
            .unwrap_or_else(|| panic!("{name}: no stack depth in the verifier's log: {log}"));
        println!("{name}: {line}");
        // Newer kernels add a word behind the numbers.
        let numbers = line.split_whitespace().next().unwrap_or(line);
        for depth in numbers.split('+') {
            let depth: u32 = depth
                .parse()
                .unwrap_or_else(|_| panic!("{name}: \"{line}\""));
            assert!(
                depth <= STACK,
                "{name}: {depth} bytes of stack, {STACK} allowed"
            );
        }
    }
}

#[test]
fn every_chain_of_calls_stays_within_the_budget_of_stack() {
    let deepest = chains::deepest(rvs_dataplane::OBJECT);
    for name in PROGRAMS {
        let depth = *deepest
            .get(name)
            .unwrap_or_else(|| panic!("{name} is no function"));
        println!("{name}: {depth} bytes of stack");
        assert!(
            depth <= STACK,
            "{name}: {depth} bytes of stack, {STACK} allowed"
        );
    }
    // The director's way has many stages: a chain of one would be a call graph that was not read.
    assert!(deepest["rvs_newcomer"] > 200, "{deepest:?}");
}

fn open() -> Ebpf {
    EbpfLoader::new()
        .verifier_log_level(VerifierLogLevel::STATS)
        .load(rvs_dataplane::OBJECT)
        .expect("the object's maps and types")
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    if let Program::SchedClassifier(program) = program {
        return program.load();
    }
    let program: &mut Xdp = program.try_into()?;
    program.load()
}

/// What the verifier says about a program that it takes. aya hands its log on only when loading
/// fails, so loading fails here at its very end, where the kernel has no descriptor left to give.
fn statistics(name: &str) -> String {
    let mut bpf = open();
    let program = bpf.program_mut(name).expect(name);
    let limit = getrlimit(Resource::Nofile);
    let next = File::open("/dev/null").expect("/dev/null").as_raw_fd();
    let none_left = rustix::process::Rlimit {
        current: Some(u64::try_from(next).expect("a descriptor")),
        ..limit
    };
    setrlimit(Resource::Nofile, none_left).expect("a lower limit");
    let outcome = load(program);
    setrlimit(Resource::Nofile, limit).expect("the limit as it was");
    match outcome {
        Err(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) => {
            let error = io_error.raw_os_error();
            assert_eq!(
                error,
                Some(libc::EMFILE),
                "{name}: {io_error}: {verifier_log}"
            );
            verifier_log.to_string()
        }
        outcome => panic!("{name}: {outcome:?}"),
    }
}

/// The tests of this file, one after the other: descriptors are the whole process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
