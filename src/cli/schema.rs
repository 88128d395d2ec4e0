//! `sendbridge schema`: everything that is said on topics, for programs to read. Made from the types that speak.

mod asyncapi;

mod channels;

mod payloads;

pub use payloads::{Payload, definitions, payload_on};

use serde_json::Value;
use std::io;
use std::path::Path;

/// The AsyncAPI 3.0 document.
pub fn document() -> Value {
    asyncapi::document()
}

/// Each payload's own JSON Schema, which needs nothing beside it, by the name of its file.
pub fn files() -> Vec<(String, Value)> {
    payloads::all().into_iter().map(|payload| (format!("{}.json", payload.name), payload.standalone())).collect()
}

/// JSON as it is printed and kept.
pub fn pretty(value: &Value) -> String {
    // A value's keys are texts, so it always can be written.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Writes `asyncapi.json` and, in the folder `schemas`, every schema.
///
/// # Errors
/// When a file cannot be written.
pub fn write_into(folder: &Path) -> io::Result<()> {
    let schemas = folder.join("schemas");
    std::fs::create_dir_all(&schemas)?;
    std::fs::write(folder.join("asyncapi.json"), pretty(&document()))?;
    for (name, schema) in files() {
        std::fs::write(schemas.join(name), pretty(&schema))?;
    }
    Ok(())
}

/// Prints the document, or writes everything into a folder. Answers what to print, and the exit code.
pub fn run(into: Option<&Path>) -> (String, u8) {
    let Some(folder) = into else { return (pretty(&document()), 0) };
    match write_into(folder) {
        Ok(()) => {
            (format!("wrote {} and {}\n", folder.join("asyncapi.json").display(), folder.join("schemas").display()), 0)
        }
        Err(error) => (format!("{}: cannot write: {error}\n", folder.display()), 1),
    }
}
