//! Where a result goes: table, JSON, HTML.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

/// What a result is written to, opened before the run, so that a long one is
/// not in vain.
#[derive(Debug)]
pub(crate) struct Output {
    json: Json,
    html: Option<Destination>,
}

/// Where the JSON goes.
#[derive(Debug)]
enum Json {
    Nowhere,
    Stdout,
    File(Destination),
}

/// A file to be written once.
#[derive(Debug)]
struct Destination {
    path: PathBuf,
    file: File,
}

impl Output {
    /// Opens the files; `-` for the JSON is standard output.
    ///
    /// # Errors
    /// Which one can not be written.
    pub(crate) fn open(json: Option<&Path>, html: Option<&Path>) -> Result<Self, String> {
        let json = match json {
            None => Json::Nowhere,
            Some(path) if path == Path::new("-") => Json::Stdout,
            Some(path) => Json::File(Destination::create(path)?),
        };
        let html = html.map(Destination::create).transpose()?;
        Ok(Self { json, html })
    }

    /// Writes the files and prints the table, unless the JSON takes its place.
    /// Only what was opened is made of `result` and `page`.
    ///
    /// # Errors
    /// What could not be written.
    pub(crate) fn write(
        self,
        result: &impl Serialize,
        table: Option<&dyn Display>,
        page: &impl Display,
    ) -> Result<(), String> {
        if let Some(html) = self.html {
            html.write(&page.to_string())?;
        }
        let json = || {
            let text = serde_json::to_string_pretty(result);
            text.map(|text| text + "\n")
                .map_err(|error| format!("cannot write JSON: {error}"))
        };
        match self.json {
            Json::Stdout => return print(&json()?),
            Json::File(destination) => destination.write(&json()?)?,
            Json::Nowhere => {}
        }
        table.map_or(Ok(()), |table| print(&table.to_string()))
    }
}

impl Destination {
    fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path);
        let path = path.to_owned();
        match file {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(format!("cannot write {}: {error}", path.display())),
        }
    }

    fn write(mut self, text: &str) -> Result<(), String> {
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

/// Writes a text to standard output.
///
/// # Errors
/// That it could not be written.
pub(crate) fn print(text: &str) -> Result<(), String> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}
