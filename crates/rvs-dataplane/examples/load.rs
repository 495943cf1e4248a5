//! Loads every program and prints what the verifier did.
use aya::programs::ProgramError;
fn main() {
    let mut bpf = aya::EbpfLoader::new()
        .load(rvs_dataplane::OBJECT)
        .expect("load");
    for (name, program) in bpf.programs_mut() {
        let name = name.to_string();
        let result: Result<(), ProgramError> = match program {
            aya::programs::Program::SchedClassifier(p) => p.load(),
            aya::programs::Program::Xdp(p) => p.load(),
            _ => continue,
        };
        match result {
            Ok(()) => println!(
                "{name}: {:?}",
                program
                    .info()
                    .map(|i| (i.verified_instruction_count(), i.size_jitted()))
            ),
            Err(ProgramError::LoadError {
                verifier_log,
                io_error,
            }) => {
                let log = verifier_log.to_string();
                let lines: Vec<&str> = log.lines().collect();
                std::fs::write(format!("/tmp/verifier-{name}.log"), &log).ok();
                println!(
                    "{name}: FAILED {io_error}\n{}",
                    lines[lines.len().saturating_sub(12)..].join("\n")
                );
            }
            Err(e) => println!("{name}: {e}"),
        }
    }
}
