//! Configuration files.

use rvs_config::Config;

/// Any text is a configuration or has errors that say where; a configuration survives being written
/// and read again.
pub fn config(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, "fuzz.toml") {
        Ok(config) => {
            let written = config.to_toml();
            let read = Config::parse(&written, "written.toml");
            assert_eq!(read.as_ref(), Ok(&config), "{written}");
        }
        Err(errors) => {
            assert!(!errors.errors().is_empty());
            assert!(errors.to_string().contains("fuzz.toml"), "{errors}");
        }
    }
}
