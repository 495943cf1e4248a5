//! Loads every program on the running kernel and prints what the verifier said: verified
//! instructions, and bytes of machine code; or the end of its log where it refused. Needs root.

use aya::programs::{Program, ProgramError};

/// Lines of a refusal that are shown.
const TAIL: usize = 40;

fn main() {
    let mut object = match aya::EbpfLoader::new().load(rvs_dataplane::OBJECT) {
        Ok(object) => object,
        Err(error) => {
            eprintln!("load: {error}");
            std::process::exit(1);
        }
    };
    let mut refused = false;
    for (name, program) in object.programs_mut() {
        let outcome = if let Program::SchedClassifier(program) = program {
            program.load()
        } else if let Program::Xdp(program) = program {
            program.load()
        } else {
            continue;
        };
        match outcome.and_then(|()| program.info()) {
            Ok(info) => println!(
                "{name}: {} instructions verified, {} bytes",
                info.verified_instruction_count().unwrap_or(0),
                info.size_jitted()
            ),
            Err(error) => {
                refused = true;
                println!("{name}: refused: {}", reason(&error));
            }
        }
    }
    std::process::exit(i32::from(refused));
}

fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return error.to_string();
    };
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or(&[]);
    format!("{io_error}\n{}", tail.join("\n"))
}
