//! What stays of a run.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::build::BENCHES;
use super::machine::Machine;
use super::schedule::{Cell, Row};
use super::table;

/// Around what is replaced in `README.md`.
const BEGIN: &str = "<!-- peers: begin -->\n";
const END: &str = "<!-- peers: end -->";

/// Writes every number of every round, and the tables into `README.md`.
///
/// # Errors
/// When a file cannot be written, or `README.md` has no place for the tables.
pub(crate) fn write(machine: &Machine, rows: &[Row]) -> Result<PathBuf, String> {
    let folder = Path::new(BENCHES).join("record");
    let file = folder.join(format!("{}-{}.json", machine.date, machine.commit));
    let record = json!({
        "schema": "hioload-benches/peers/1",
        "machine": machine,
        "workloads": rows.iter().map(workload).collect::<Vec<_>>(),
    });
    let text = format!("{record:#}\n");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, text))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let readme = Path::new(BENCHES).join("README.md");
    let old = fs::read_to_string(&readme).map_err(|error| format!("README.md: {error}"))?;
    let new = replaced(&old, &section(machine, rows))?;
    fs::write(&readme, new).map_err(|error| format!("cannot write README.md: {error}"))?;
    Ok(file)
}

fn workload(row: &Row) -> Value {
    let peers = row.cells.iter().map(|(peer, cell)| {
        let (rounds, failed) = match cell {
            Cell::None => (Value::Null, Value::Null),
            Cell::Failed(message) => (Value::Null, json!(message)),
            Cell::Measured(rounds) => (json!(rounds), Value::Null),
        };
        json!({ "name": peer.name, "about": peer.about, "rounds": rounds, "failed": failed })
    });
    json!({
        "name": row.workload.name,
        "about": row.workload.about,
        "peers": peers.collect::<Vec<_>>(),
    })
}

fn section(machine: &Machine, rows: &[Row]) -> String {
    let tables: Vec<String> = rows.iter().map(table::of).collect();
    format!(
        "{} All numbers: [record/{}-{}.json](record/{}-{}.json).\n\n{}",
        machine.sentence(),
        machine.date,
        machine.commit,
        machine.date,
        machine.commit,
        tables.join("\n")
    )
}

fn replaced(text: &str, section: &str) -> Result<String, String> {
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts
        .ok_or_else(|| format!("README.md has no lines {BEGIN:?} and {END:?} for the tables"))?;
    Ok(format!("{before}{BEGIN}{section}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let old = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let new = replaced(&old, "new\n").expect("there is a place");
        assert_eq!(new, format!("before\n{BEGIN}new\n{END}\nafter\n"));
        assert!(replaced("nothing", "new\n").is_err());
    }

    #[test]
    fn the_readme_has_a_place_for_the_tables() {
        let readme = fs::read_to_string(Path::new(BENCHES).join("README.md"));
        assert!(replaced(&readme.expect("it can be read"), "").is_ok());
    }
}
