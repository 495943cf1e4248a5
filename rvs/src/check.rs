//! `rvs check`: whether a configuration file is right. Nothing else is looked at, and nothing changed.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use rvs_control::source::{self, LoadError};
use serde_json::json;

use crate::show::Form;

/// Checks a file.
pub(crate) fn run(file: &Path, form: Form) -> anyhow::Result<ExitCode> {
    let result = source::read(file);
    let code = match &result {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    let text = match form {
        Form::Json => format!("{}\n", report(file, &result)),
        Form::Text => match &result {
            Ok(config) => {
                let services = config.services.len();
                let servers: usize = config.services.iter().map(|s| s.servers().len()).sum();
                let file = file.display();
                format!("{file}: right ({services} virtual services, {servers} real servers)\n")
            }
            Err(error) => {
                writeln!(std::io::stderr(), "{error}")?;
                String::new()
            }
        },
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(code)
}

fn report(file: &Path, result: &Result<rvs_config::Config, LoadError>) -> serde_json::Value {
    let errors = match result {
        Ok(_) => Vec::new(),
        Err(LoadError::Config(errors)) => errors
            .errors()
            .iter()
            .map(|error| {
                json!({
                    "file": error.file, "line": error.line, "column": error.column,
                    "message": error.message,
                })
            })
            .collect(),
        Err(error @ LoadError::NotText { line, column, .. }) => {
            vec![
                json!({ "file": file, "line": line, "column": column, "message": error.to_string() }),
            ]
        }
        Err(error @ (LoadError::Read { .. } | LoadError::Nothing(_) | LoadError::TooLarge(_))) => {
            vec![json!({ "file": file, "message": error.to_string() })]
        }
    };
    json!({ "file": file, "right": result.is_ok(), "errors": errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_places() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("rvs.toml");
        std::fs::write(
            &file,
            "[director]\ninterfaces = [\"eth0\"]\nattach = \"x\"\n",
        )
        .expect("written");
        let report = report(&file, &source::read(&file));
        let error = &report["errors"][0];
        assert_eq!((&error["line"], &error["column"]), (&json!(3), &json!(10)));
        assert_eq!(report["right"], json!(false));
        assert_eq!(
            super::report(&file, &source::read(Path::new("/nosuch")))["right"],
            json!(false)
        );
    }
}
